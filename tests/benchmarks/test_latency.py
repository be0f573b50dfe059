"""The latency command: what it plans, makes, skips and records; and a whole small run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks import latency
from benchmarks.making.children import MeasurementError, measure
from benchmarks.making.made_models import MadeModels
from benchmarks.speed import measurement
from benchmarks.speed.measurement import shares

QUICK = ["--frame", "48x64", "--runs", "2", "--warmup", "0", "--threads", "1"]


Planned = Callable[..., list[str]]


@pytest.fixture
def planned(capsys: pytest.CaptureFixture[str]) -> Planned:
    def of(*arguments: str) -> list[str]:
        assert latency.main(["--threads", "2", "--list", *arguments]) == 0
        return capsys.readouterr().out.splitlines()

    return of


@pytest.fixture(scope="module")
def timing(color_model: Path) -> dict[str, Any]:
    """What the measuring process prints, and a rate of matrix products, which would take seconds to measure."""
    record = measure("benchmarks.speed.processes.segmenter", [str(color_model), "--bare", *QUICK])
    return {**record, "gemm_gflops": 50.0}


@pytest.fixture
def processes(timing: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The measuring processes and their models; none is started, each would print the same."""
    started: list[str] = []

    def answer(module: str, arguments: Sequence[str]) -> dict[str, Any]:
        started.append(f"{module.rpartition('.')[2]} {Path(arguments[0]).name}")
        return dict(timing)

    monkeypatch.setattr(measurement, "measure", answer)
    return started


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_several_values_are_combined(planned: Planned) -> None:
    assert planned("--model", "tiny", "base", "--classes", "12", "150") == [
        f"{model}, onnxruntime, fp32, 512x512, {classes} categories, 2 threads"
        for model in ("tiny", "base")
        for classes in (12, 150)
    ]
    assert planned("--backend", "torch", "--size", "384x640") == [
        "micro, torch, fp32, 384x640, 12 categories, 2 threads"
    ]


def test_sweeps_vary_one_setting(planned: Planned) -> None:
    labels = planned("--sweep", "classes", "--values", "1", "7")
    assert [label.split(", ")[4] for label in labels] == ["1 categories", "7 categories"]
    assert len(planned("--sweep", "size")) == 6
    assert planned("--sweep", "batch", "--values", "4")[0].endswith("batch 4")
    assert planned("--sweep", "streams", "--values", "3")[0].endswith("3 streams")
    assert planned("--sweep", "threads", "--values", "1")[0].endswith("1 threads")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--values", "3"],
        ["--sweep", "classes", "--values", "none"],
        ["--sweep", "batch", "--backend", "torch"],
        ["--size", "big"],
        ["--model", "absent.onnx"],
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert latency.main([*arguments, "--list"]) in (2, 4)
    assert capsys.readouterr().err.startswith("error: ")


def test_a_finished_model_is_timed_once(
    color_model: Path, processes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "latency.jsonl"
    for _ in range(2):
        assert latency.main(["--model", str(color_model), "--out", str(out), *QUICK]) == 0
    (record,) = lines(out)
    key = record["key"]
    assert (key["way"], key["size"], key["classes"], key["threads"]) == ("segmenter", "64x64", 3, 1)
    assert key["model"].startswith("colors ")
    assert "gflop" not in record
    said = capsys.readouterr()
    assert "| colors | ifseg-rt | fp32 | 3 | 64x64 |" in said.out
    assert f"already in {out}" in said.err
    assert latency.main(["--model", str(color_model), "--out", str(out), "--again", *QUICK]) == 0
    assert len(lines(out)) == 2
    assert processes == ["segmenter colors.onnx"] * 2


def test_a_finished_model_keeps_what_is_baked_in(color_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert latency.main(["--model", str(color_model), "--sweep", "size", "--list"]) == 2
    assert "has its size baked in" in capsys.readouterr().err


def test_models_are_made_timed_and_deleted(
    color_model: Path,
    processes: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[str] = []

    def make(self: MadeModels, model: str, classes: int, size: Sequence[int], precision: str, batch: int) -> Path:
        asked.append(f"{model} {classes} {tuple(size)} {precision} {batch}")
        for suffix in (".onnx", ".json"):
            shutil.copy(color_model.with_suffix(suffix), self.folder / f"colors{suffix}")
        return self.folder / "colors.onnx"

    monkeypatch.setattr(MadeModels, "onnx", make)
    monkeypatch.setattr(MadeModels, "facts", lambda self, *settings: {"prompt": 37, "parameters_m": 33.8})
    kept = tmp_path / "kept"
    kept.mkdir()
    out = tmp_path / "latency.jsonl"
    arguments = ["--model", "tiny", "--size", "64", "--out", str(out), *QUICK]
    assert latency.main([*arguments, "--keep", str(kept)]) == 0
    assert (asked, processes) == (["tiny 12 (64, 64) fp32 1"], ["segmenter colors.onnx"])
    assert (kept / "colors.onnx").is_file()
    (record,) = lines(out)
    assert record["gflop"]["total"] > 0
    assert record["share"] > 0
    assert record["benchmark"] == "latency"
    assert "| tiny |" in capsys.readouterr().out


def test_one_failure_stops_nothing_and_is_tried_again(
    color_model: Path,
    processes: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*arguments: object, **options: object) -> dict[str, Any]:
        raise MeasurementError("it did not work")

    out = tmp_path / "latency.jsonl"
    arguments = ["--model", "tiny", str(color_model), "--out", str(out), *QUICK]
    monkeypatch.setattr(MadeModels, "onnx", fail)
    assert latency.main(arguments) == 1
    assert [record.get("failed") for record in lines(out)] == ["it did not work", None]
    said = capsys.readouterr()
    assert "1 of 2 measurements failed" in said.err
    assert "| colors |" in said.out
    assert latency.main(arguments) == 1
    assert len(lines(out)) == 3


def test_torch_and_onnx_runtime_side_by_side(tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="needs the extra 'train'")
    if not (root / "train" / "assets" / "micro.pt").is_file():
        pytest.skip("this checkout carries no train/assets/micro.pt")
    out = tmp_path / "latency.jsonl"
    arguments = ["--classes", "3", "--size", "64", "--backend", "torch", "--out", str(out), *QUICK]
    assert latency.main(arguments) == 0
    (record,) = lines(out)
    assert set(record["stages_ms"]) == {"preprocess", "inference", "refinement", "labels", "total"}
    assert record["parameters_m"] > 1
    assert "| micro | plain PyTorch |" in capsys.readouterr().out


def test_shares_are_of_the_machines_own_rate() -> None:
    record = {
        "gemm_gflops": 400.0,
        "stages_ms": {"inference": {"median": 200.0}},
        "gflop": {"total": 60.0},
        "graph_gflop": 56.0,
    }
    assert shares(record) == {"share": 0.75, "graph_share": 0.7}
    assert shares({**record, "graph_gflop": 56.0, "batch": 2}) == {"share": 1.5, "graph_share": 0.7}
    assert shares({**record, "gemm_gflops": None}) == {}


def test_the_plain_implementation_needs_a_model_to_make(color_model: Path, tmp_path: Path) -> None:
    arguments = ["--model", str(color_model), "--backend", "torch", "--out", str(tmp_path / "x.jsonl"), *QUICK]
    assert latency.main(arguments) == 2


def test_every_way_has_its_process(processes: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(MadeModels, "onnx", lambda self, *settings: Path("made.onnx"))
    monkeypatch.setattr(MadeModels, "checkpoint", lambda self, *settings: Path("made.pt"))
    monkeypatch.setattr(MadeModels, "facts", lambda self, *settings: {"prompt": 37, "parameters_m": 1.0})
    batches, streams = (["--sweep", what, "--values", "2"] for what in ("batch", "streams"))
    for options in (["--backend", "torch"], batches, streams):
        arguments = ["--model", "tiny", "--size", "64", "--out", str(tmp_path / "latency.jsonl"), *QUICK]
        assert latency.main([*arguments, *options]) == 0
    assert processes == ["torch_model made.pt", "session made.onnx", "streams made.onnx"]
