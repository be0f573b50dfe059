"""The stage-time command: finished models, models made for the measurement, stored records."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import product, stages, untrained
from ifseg_rt.errors import IfsegError

QUICK = ["--frame", "48x64", "--frames", "2", "--warmup", "0", "--threads", "1"]


def test_a_finished_model_is_timed_and_stored(
    color_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "stages.jsonl"
    for _ in range(2):
        assert stages.main(["--model", str(color_model), "--out", str(out), *QUICK]) == 0
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(record["model"], record["frames"], record["threads"]) for record in records] == [("colors", 2, 1)] * 2
    assert "| colors | 3 | 64x64 |" in capsys.readouterr().out


def test_a_named_model_is_made_and_exported_first(
    color_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    really = product.run_step

    def step(module: str, arguments: Sequence[str], *, capture: bool = False) -> str:
        asked.append(" ".join([module, *arguments[:1]]))
        return really(module, arguments, capture=capture) if module == "benchmarks.timing_run" else ""

    def export(checkpoint: Path, out: Path, *, size: str | None) -> None:
        asked.append(f"export {size}")
        for suffix in (".onnx", ".json"):
            shutil.copy(color_model.with_suffix(suffix), out.with_suffix(suffix))

    monkeypatch.setattr(stages, "run_step", step)
    monkeypatch.setattr(stages, "export", export)
    assert stages.main(["--model", "tiny", "--size", "64", *QUICK]) == 0
    assert asked[:2] == ["benchmarks.untrained tiny", "export 64"]
    assert "| tiny | 3 | 64x64 |" in capsys.readouterr().out


def test_a_failing_measurement_ends_the_command_with_its_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(module: str, arguments: Sequence[str], *, capture: bool = False) -> str:
        error = IfsegError("it did not work")
        error.exit_code = 6
        raise error

    monkeypatch.setattr(stages, "run_step", fail)
    assert stages.main(["--model", "tiny", *QUICK]) == 6
    assert stages.main(["--model", "tiny", "--categories", "0", *QUICK]) == 2
    assert "it did not work" in capsys.readouterr().err


def test_untrained_checkpoints_load_like_any_other(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs the extra 'train'")
    from train import load_model

    path = tmp_path / "ckpt.pt"
    assert untrained.main(["mini", "--categories", "12", "--out", str(path)]) == 0
    model = load_model(path)
    assert len(model.vocabulary.names) == 12
    assert len(model.prompt_ids) == 37  # as in the reference's measurement with 12 categories


def test_micro_takes_its_own_words(tmp_path: Path, root: Path) -> None:
    pytest.importorskip("torch", reason="needs the extra 'train'")
    from train import load_model

    if not (root / "train" / "assets" / "micro.pt").is_file():
        pytest.skip("this checkout carries no train/assets/micro.pt")
    path = tmp_path / "ckpt.pt"
    assert untrained.main(["micro", "--categories", "5", "--out", str(path)]) == 0
    assert len(set(load_model(path).vocabulary.names)) == 5


@pytest.mark.parametrize("options", [["giant"], ["tiny", "--categories", "0"]])
def test_untrained_refuses_what_it_cannot_make(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert untrained.main([*options, "--out", str(tmp_path / "ckpt.pt")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
