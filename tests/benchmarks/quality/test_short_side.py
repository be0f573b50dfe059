"""The published evaluation, picture by picture, on the small random model of the golden tensors."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import miou
from benchmarks.quality.metrics import Confusion
from benchmarks.quality.short_side import short_side_run, short_side_size
from ifseg_rt.errors import DeviceError


@pytest.fixture(scope="module")
def checkpoint(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    with tarfile.open(golden / "ckpts.tar.xz") as archive:
        archive.extract("mini/ckpt_ifseg.pt", folder)
    return folder / "mini" / "ckpt_ifseg.pt"


@pytest.mark.parametrize(
    ("picture", "size"),
    [((150, 200), (512, 683)), ((240, 180), (683, 512)), ((480, 640), (512, 683)), ((100, 500), (410, 2048))],
)
def test_sizes(picture: tuple[int, int], size: tuple[int, int]) -> None:
    assert short_side_size(*picture) == size


def test_golden_evaluation_from_picture_to_scores(golden: Path, checkpoint: Path) -> None:
    """Resize, network, both ways to labels, and areas: every pixel counted as the reference counts it."""
    from train import load_model

    arrays = np.load(golden / "eval.npz")
    expected = json.loads((golden / "eval_meta.json").read_text())
    model = load_model(checkpoint, tokenizer=golden.parent / "bpe")
    run = short_side_run("golden", model, (None, (3, 25)), device="cpu")
    kinds = ("", "_resnet_postprocess")
    totals = [Confusion(5) for _ in kinds]
    with run.open() as labeller:
        for name in ("s0", "s1"):
            found = labeller(np.ascontiguousarray(arrays[f"{name}/image_u8"][:, :, ::-1]))
            for total, kind, labels in zip(totals, kinds, found, strict=True):
                one = Confusion(5)
                one.add(arrays[f"{name}/gt"].astype(int), labels)
                total.matrix += one.matrix
                # One pixel in 30 000 may tip where two classes are within rounding of each other.
                assert np.abs(np.diag(one.matrix) - arrays[f"{name}/area_intersect{kind}"]).max() <= 1
                assert np.abs(one.matrix.sum(axis=0) - arrays[f"{name}/area_pred_label{kind}"]).max() <= 1
    for total, kind in zip(totals, kinds, strict=True):
        scores = total.scores()
        assert scores.miou == pytest.approx(expected[f"mIoU{kind}"], abs=1e-5)
        assert scores.all_accuracy == pytest.approx(expected[f"aAcc{kind}"], abs=1e-5)
        assert scores.mean_accuracy == pytest.approx(expected[f"mAcc{kind}"], abs=1e-5)


def test_the_command_on_a_checkpoint(
    golden: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of the pictures as a file in the project's layout, its labels in the reference's own values."""
    from PIL import Image

    arrays = np.load(golden / "eval.npz")
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    cv2.imwrite(str(tmp_path / "images" / "s0.png"), arrays["s0/image_u8"][:, :, ::-1])
    Image.fromarray(arrays["s0/annotation"]).save(tmp_path / "labels" / "s0.png")
    classes = {str(value): f"class {value}" for value in range(1, 6)}
    (tmp_path / "meta.json").write_text(json.dumps({"classes": classes, "ignore": [0, 255]}))
    options = ["--dataset", tmp_path, "--model", checkpoint, "--tokenizer", golden.parent / "bpe", "--resize", "short"]
    options += ["--json", tmp_path / "out.json", "--sheet", tmp_path / "sheet.png", "--device", "cpu"]
    assert miou.main([str(option) for option in options]) == 0
    record = json.loads((tmp_path / "out.json").read_text())
    assert [row["refinement"] for row in record["rows"]] == [None, [3, 25]]
    for row, kind in zip(record["rows"], ("", "_resnet_postprocess"), strict=True):
        common, found, true = (
            arrays[f"s0/area_{area}{kind}"].astype(float) for area in ("intersect", "pred_label", "label")
        )
        assert row["miou"] == pytest.approx(np.nanmean(common / (found + true - common)), abs=1e-4)
    assert (record["resize"], record["size"]) == ("short", "short side 512, long side at most 2048")
    assert "input short side 512" in capsys.readouterr().out
    assert cv2.imread(str(tmp_path / "sheet.png")).shape[1] == 4 * 320


def test_a_device_that_is_not_there() -> None:
    run = short_side_run("golden", None, (None,), device="tensorrt")  # type: ignore[arg-type]
    with pytest.raises(DeviceError, match="PyTorch cannot run on tensorrt"), run.open():
        pass
