"""The quality command on a model whose answers are known, through the real run time."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import miou, product
from ifseg_rt.errors import IfsegError


def test_a_finished_model_is_scored_with_refinement_off_and_on(
    color_model: Path, color_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, sheet = tmp_path / "a" / "miou.json", tmp_path / "b" / "sheet.png"
    options = ["--dataset", color_set, "--model", color_model, "--json", out, "--sheet", sheet]
    assert miou.main([str(option) for option in options]) == 0

    record = json.loads(out.read_text())
    assert [(row["model"], row["refined"]) for row in record["rows"]] == [("colors", False), ("colors", True)]
    for row in record["rows"]:
        assert row["pixels"] == 3 * (64 * 64 - 16 * 4)
        assert row["miou"] > 0.98  # the border between two patches is up-sampled, the rest is exact
    assert record["categories"] == ["red", "green", "blue"]
    assert record["machine"]["cores"] >= 1
    assert (record["size"], record["models"]["colors"]["parity"]["pictures"]) == ("64x64", 0)

    table = capsys.readouterr().out
    assert table.startswith("colors: 3 pictures, model colors.onnx")
    assert "| colors | on |" in table
    assert "| blue |" in table
    picture = cv2.imread(str(sheet))
    assert picture.shape[1] == 4 * 320
    assert np.unique(picture.reshape(-1, 3), axis=0).shape[0] > 3


def test_words_go_through_adapt_and_export(
    color_model: Path,
    color_set: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The two commands are replaced by copies of the known model; what they were asked to do is recorded."""
    asked: list[tuple[str, list[str]]] = []

    def run(module: str, arguments: list[str]) -> None:
        asked.append((module, arguments))
        if module == "export.to_onnx":
            target = Path(arguments[arguments.index("-o") + 1])
            target.write_bytes(color_model.read_bytes())
            target.with_suffix(".json").write_bytes(color_model.with_suffix(".json").read_bytes())

    monkeypatch.setattr(product, "run_step", run)
    options = ["--dataset", color_set, "--steps", 7, "--size", "64", "--limit", 2, "--keep", tmp_path / "made"]
    assert miou.main([str(option) for option in options]) == 0
    assert [module for module, _ in asked] == ["train.adapt", "export.to_onnx"] * 2
    steps = [arguments[arguments.index("--steps") + 1] for module, arguments in asked if module == "train.adapt"]
    assert steps == ["0", "7"]
    assert (tmp_path / "made" / "names.txt").read_text() == "red\ngreen\nblue\n"
    table = capsys.readouterr().out
    assert "2 pictures, names of the set, base micro, steps 7, input 64x64" in table
    assert "| adapted | off |" in table
    assert "| adapted | on |" in table
    assert "| un-adapted, refined | adapted | adapted, refined |" in table


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--dataset", "nowhere"], 3, "nowhere holds no meta.json"),
        (["--dataset", "SET", "--model", "nowhere.onnx"], 4, "nowhere.onnx"),
        (["--dataset", "SET", "--names", "nowhere.txt"], 3, "nowhere.txt"),
        (["--dataset", "SET", "--limit", "0"], 2, "--limit 0"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(
    options: list[str], code: int, message: str, color_set: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert miou.main([str(color_set) if option == "SET" else option for option in options]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert "Traceback" not in captured.err


def test_too_few_categories_are_refused(color_model: Path, color_set: Path, capsys: pytest.CaptureFixture[str]) -> None:
    meta = json.loads((color_set / "meta.json").read_text())
    meta["classes"]["3"] = "grey"
    (color_set / "meta.json").write_text(json.dumps(meta))
    assert miou.main(["--dataset", str(color_set), "--model", str(color_model)]) == 2
    assert "3 categories, the set has 4 classes" in capsys.readouterr().err


def test_a_failing_step_gives_its_own_exit_code() -> None:
    with pytest.raises(IfsegError, match=r"no_such_module ended with exit code 1") as caught:
        product.run_step("benchmarks.no_such_module", [])
    assert caught.value.exit_code == 1


def test_shipped_names_file_has_a_line_per_class(shared: Path, root: Path) -> None:
    from benchmarks.datasets import LabelledImages

    lines = (root / "benchmarks" / "names" / "camvid.txt").read_text().splitlines()
    names = [line for line in lines if line and not line.startswith("#")]
    assert len(names) == len(LabelledImages(shared / "data" / "camvid_val").categories)
