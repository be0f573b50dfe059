"""``python -m train.adapt``: what it writes, what it refuses and with which exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from train.adapt import main
from train.adaptation import loop as adaptation
from train.checkpoints.own import read_checkpoint
from train.load import MICRO, load_model

needs_micro = pytest.mark.skipif(not MICRO.is_file(), reason="the shipped micro checkpoint is not in this tree")


@needs_micro
def test_zero_steps_set_the_vocabulary_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    names = tmp_path / "names.txt"
    names.write_text("# a comment\nsky\nroad, pavement #804080\n\ntraffic light\n", encoding="utf-8")
    out = tmp_path / "ckpt.pt"
    assert main(["--categories-file", str(names), "--out", str(out), "--steps", "0", "--quiet"]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    stored = read_checkpoint(out)
    assert stored.vocabulary.names == ("sky", "road", "traffic light")
    assert stored.vocabulary.categories[1].color == (0x80, 0x40, 0x80)
    assert stored.provenance["base"] == "micro" and stored.provenance["steps"] == 0
    assert len(stored.provenance["base_sha256"]) == 64
    base = torch.load(MICRO, weights_only=True)["model"]
    assert all(torch.equal(stored.state[name], value.float()) for name, value in base.items())
    model = load_model(out)
    assert model.category_embedding.shape == (3, 128)
    assert model(torch.zeros(1, 3, 64, 96)).shape == (1, 24, 3)


@needs_micro
def test_one_step_is_recorded_and_the_resume_file_goes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "ckpt.pt"
    options = ["--categories", "sky, road", "--out", str(out), "--steps", "1", "--batch-size", "1", "--device", "cpu"]
    assert main(options) == 0
    assert "step 1/1" in capsys.readouterr().err
    provenance = read_checkpoint(out).provenance
    assert provenance["steps"] == 1 and provenance["final_loss"] > 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ckpt.pt"]


@needs_micro
@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--categories", "sky, , road"], 8, "empty"),
        (["--categories", "sky, road, sky"], 8, "sky"),
        (["--categories", "sky, roaad"], 8, "road"),
        (["--categories", "road, street"], 8, "street"),
        ([], 8, "no categories"),
        (["--categories", "sky", "--base", "missing.pt"], 7, "missing.pt"),
        (["--categories", "sky", "--steps", "-1"], 2, "steps"),
        (["--categories", "sky", "--steps", "9" * 20], 2, "steps"),
        (["--categories", "sky", "--seed", str(2**63)], 2, "seed"),
        (["--categories", "sky", "--lr", "inf"], 2, "learning rate"),
        (["--categories", "sky", "--lr", "nan"], 2, "learning rate"),
        (["--categories", "sky", "--base", ""], 2, "empty"),
        (["--categories", "sky", "--base", "n" * 300], 7, "too long"),
        (["--categories", "sky", "--image-size", "12"], 2, "12"),
        (["--categories", "sky", "--device", "cuda:77"], 5, "CUDA"),
        (["--categories", "sky", "--device", "toaster"], 5, "toaster"),
        (["--categories", "sky", "--device", "meta"], 5, "meta"),
        (["--categories-file", "missing.txt"], 2, "missing.txt"),
    ],
)
def test_refusals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], code: int, words: str
) -> None:
    assert main([*options, "--out", str(tmp_path / "c.pt")]) == code
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and words in captured.err and "Traceback" not in captured.err
    assert captured.out == "" and not list(tmp_path.iterdir())


def test_help_imports_nothing_heavy():
    code = "import sys; from train.adapt import build_parser as b; b().format_help(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(("options", "words"), [(["--categories", "sky"], "--out"), (["--out", "c", "--x"], "--x")])
def test_wrong_options_are_one_line_and_a_hint(
    capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert main(options) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ") and words in error
    assert hint == "hint: python -m train.adapt --help"


def one_step(folder: Path) -> list[str]:
    words = "--categories sky,road --batch-size 1 --device cpu --steps 1 --quiet"
    return [*words.split(), "--out", str(folder / "c.pt")]


@needs_micro
@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        None,  # whatever PyTorch says of an allocation that fails
    ],
)
def test_too_little_memory(
    error: Exception | None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> None:
        if error is not None:
            raise error
        torch.empty(1 << 60, dtype=torch.uint8)

    monkeypatch.setattr(adaptation, "upsampled_cross_entropy", fail)
    assert main(one_step(tmp_path)) == 5
    assert capsys.readouterr().err == (
        "error: there is not enough memory for this batch\nhint: use a smaller --batch-size\n"
    )


@needs_micro
def test_other_errors_of_the_program_are_one_line_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(adaptation, "upsampled_cross_entropy", fail)
    assert main(one_step(tmp_path)) == 1
    assert capsys.readouterr().err == (
        "error: unexpected RuntimeError: shapes do not match\nhint: run it again with --debug for the traceback\n"
    )
