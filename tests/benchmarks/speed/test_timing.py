"""What times: the measuring processes, the frames, the counts of operations and the stored lines."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.making import children, untrained
from benchmarks.making.children import MeasurementError, measure, reason, run_child
from benchmarks.records.store import RecordFile, latest, read_records
from benchmarks.speed.flops import event_flops, graph_flops, method_flops
from benchmarks.speed.gemm_rate import gemm_gflops
from benchmarks.speed.timing import repeat, summary, synthetic_frames
from ifseg_rt.errors import SourceError
from train.models.ofa.config import PRESETS

QUICK = ["--frame", "48x64", "--runs", "3", "--warmup", "1", "--threads", "1"]


def run(root: Path, *arguments: str) -> dict:
    command = [sys.executable, "-m", *arguments]
    answer = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return json.loads(answer.stdout)


def test_a_model_is_timed_through_the_segmenter(color_model: Path, root: Path) -> None:
    record = run(root, "benchmarks.speed.processes.segmenter", str(color_model), *QUICK)
    assert (record["size"], record["frame"], record["runs"], record["categories"]) == ("64x64", "48x64", 3, 3)
    assert set(record["stages_ms"]) == {"preprocess", "inference", "refinement", "labels", "total"}
    for figures in record["stages_ms"].values():
        assert 0 <= figures["min"] <= figures["median"] <= figures["p95"] <= figures["p99"]
    assert record["stages_ms"]["total"]["median"] > record["stages_ms"]["inference"]["median"]
    assert record["first_label_ms"] > record["load_ms"] > 0
    assert record["peak_rss_mb"] > 10
    assert record["other_cores"] is None or record["other_cores"] >= 0
    assert record["gemm_gflops"] > 1
    assert {"cpu", "cores", "python", "packages", "memory_gb"} <= set(record["machine"])


def test_batches_and_streams_are_timed(color_model: Path, root: Path) -> None:
    record = run(root, "benchmarks.speed.processes.session", str(color_model), *QUICK)
    assert record["batch"] == 1
    assert {"preprocess", "inference", "labels", "total"} == set(record["stages_ms"])
    record = run(root, "benchmarks.speed.processes.streams", str(color_model), "--streams", "2", *QUICK)
    assert (record["streams"], record["runs"], record["threads"]) == (2, 6, 1)
    assert record["frames_per_second"] > 0


def test_the_measuring_processes_do_not_load_pytorch(root: Path) -> None:
    program = (
        "import sys; from benchmarks.speed.processes import segmenter, session, streams; print('torch' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_synthetic_frames_are_the_same_every_time() -> None:
    first, again = synthetic_frames(24, 32, 2), synthetic_frames(24, 32, 2)
    assert (first[0] == again[0]).all()
    assert first[0].shape == (24, 32, 3)
    assert (first[0] != first[1]).any()


def test_repetitions_stop_when_their_time_is_up() -> None:
    calls: list[int] = []

    def one(value: int) -> dict[str, float]:
        calls.append(value)
        return {"stage": 1.0}

    assert len(repeat(one, [1, 2], 5, 2)["total"]) == 5
    assert calls == [1, 2, 1, 2, 1, 2, 1]
    assert len(repeat(one, [1], 50, 0, seconds=0.0)["stage"]) == 3
    assert summary([1, 2, 3, 4]) == {"median": 2.5, "p95": 3.85, "p99": 3.97, "min": 1.0}


@pytest.mark.parametrize(("model", "classes", "prompt", "gflop"), [("tiny", 12, 37, 65.6), ("base", 12, 37, 343.7)])
def test_operations_of_the_method(model: str, classes: int, prompt: int, gflop: float) -> None:
    pytest.importorskip("torch", reason="needs the extra 'train'")
    assert method_flops(PRESETS[model], (512, 512), prompt, classes)["total"] == pytest.approx(gflop, rel=1e-3)


def test_operations_of_a_graph(color_model: Path, root: Path) -> None:
    assert graph_flops(color_model, threads=1) == 0  # it averages and scales, and multiplies no matrices
    default = root / "ifseg_rt" / "assets" / "micro.onnx"
    if default.is_file():
        assert graph_flops(default, threads=1) == pytest.approx(7.6, rel=0.2)


@pytest.mark.parametrize(
    ("kind", "inputs", "output", "flops"),
    [
        ("MatMul", [[4, 8]], [4, 6], 2 * 4 * 6 * 8),
        ("MatMul", [[24, 12], [1, 5, 12, 3]], [1, 5, 24, 3], 2 * 5 * 24 * 3 * 12),
        ("FusedMatMul", [[2, 4, 8], [2, 4, 8]], [2, 4, 4], 2 * 2 * 4 * 4 * 8),
        ("Gemm", [[4, 8], [6]], [4, 6], 2 * 4 * 6 * 8),
        ("Conv", [[1, 3, 8, 8], [16, 3, 3, 3], [16]], [1, 16, 8, 8], 2 * 16 * 64 * 27),
        ("QLinearConv", [[1, 3, 8, 8], [], [], [16, 1, 3, 3]], [1, 16, 8, 8], 2 * 16 * 64 * 9),
        ("ConvTranspose", [[1, 16, 8, 8], [16, 4, 2, 2], [4]], [1, 4, 16, 16], 2 * 16 * 64 * 16),
        ("MultiHeadAttention", [[1, 10, 8], [1, 12, 8]], [1, 10, 8], 4 * 10 * 12 * 8),
        ("Softmax", [[4, 8]], [4, 8], 0),
    ],
)
def test_operations_of_one_operator(kind: str, inputs: list, output: list, flops: int) -> None:
    shapes = [{"float": shape} for shape in inputs]
    event = {
        "name": "node_kernel_time",
        "args": {"op_name": kind, "input_type_shape": shapes, "output_type_shape": [{"float": output}]},
    }
    assert event_flops(event) == flops
    assert event_flops({**event, "name": "node_fence_before"}) == 0


def test_the_machine_has_a_rate() -> None:
    assert gemm_gflops(1, side=64, runs=2) > 0


def test_records_are_found_again_by_their_key(tmp_path: Path) -> None:
    path = tmp_path / "new" / "records.jsonl"
    store = RecordFile(path)
    store.add({"key": {"a": 1, "b": 2}, "value": 1})
    store.add({"key": {"a": 2, "b": 2}, "failed": "it did not work"})
    store = RecordFile(path)
    assert store.has({"b": 2, "a": 1})
    assert not store.has({"a": 2, "b": 2})
    assert not RecordFile(path, again=True).has({"a": 1, "b": 2})
    store.add({"key": {"b": 2, "a": 1}, "value": 2})
    assert [record.get("value") for record in RecordFile(path).records()] == [None, 2]
    assert len(read_records(path)) == 3
    assert latest([{"x": 1}, {"x": 2}]) == [{"x": 1}, {"x": 2}]
    path.write_text("[1]\n")
    with pytest.raises(SourceError, match="list where a measurement"):
        RecordFile(path)


def test_a_child_that_fails_says_why_in_one_line() -> None:
    with pytest.raises(MeasurementError, match=r"there is no model 'giant'") as caught:
        measure("benchmarks.making.untrained", ["giant", "--out", "x.pt"])
    assert caught.value.exit_code == 2
    with pytest.raises(MeasurementError, match="printed no result"):
        measure("benchmarks.making.untrained", ["--help"])
    with pytest.raises(MeasurementError, match="no result within"):
        run_child("benchmarks.making.untrained", ["--help"], timeout=0.001)


@pytest.mark.parametrize(
    ("stderr", "code", "line"),
    [
        ("console\nerror: no GPU\nhint: buy one\n", 5, "no GPU"),
        ("Traceback\n  File\nRuntimeError: CUDA out of memory\nmore\n", 1, "RuntimeError: CUDA out of memory"),
        ("console\n", -11, "ended by SIGSEGV; last words: console"),
        ("", 3, "exit code 3 without a word"),
        ("only console\n", 1, "only console"),
    ],
)
def test_the_reason_of_a_failure(stderr: str, code: int, line: str) -> None:
    assert reason(stderr, code) == line


def test_untrained_checkpoints_load_like_any_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="needs the extra 'train'")
    from train import load_model

    path = tmp_path / "ckpt.pt"
    assert untrained.main(["mini", "--categories", "12", "--out", str(path)]) == 0
    model = load_model(path)
    assert len(model.vocabulary.names) == 12
    assert len(model.prompt_ids) == 37  # as in the reference's measurement with 12 categories
    assert json.loads(capsys.readouterr().out)["prompt"] == 37


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


def test_children_of_a_child_that_is_given_up_hold_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(9)'])"
    (tmp_path / "with_worker.py").write_text(f"{worker}; time.sleep(9)\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(children, "_PARTING_SECONDS", 0.1)
    beginning = time.perf_counter()
    with pytest.raises(MeasurementError, match="no result within 1 s"):
        run_child("with_worker", [], timeout=1)
    assert time.perf_counter() - beginning < 6
