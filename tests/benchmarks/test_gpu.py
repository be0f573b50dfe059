"""The GPU benchmark as far as it goes without one: plan, records, tables, isolation, its PyTorch parts on the CPU."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.gpu import measure as gpu_measure
from benchmarks.gpu import run as gpu
from benchmarks.gpu.items import KINDS, PATHS, plan
from benchmarks.gpu.processes import adaptation as gpu_adaptation
from benchmarks.gpu.processes import kernels as gpu_kernels
from benchmarks.gpu.processes import segmenter as gpu_segmenter
from benchmarks.gpu.processes import torch_model as gpu_torch
from benchmarks.gpu.tables import adaptation_table, gpu_table, kernel_table
from benchmarks.making import untrained
from benchmarks.making.children import MeasurementError
from benchmarks.making.made_models import MadeModels
from benchmarks.report import tables_of
from ifseg_rt.machine import GpuFacts, Machine

H200 = Machine("linux-x86_64", GpuFacts("NVIDIA H200", "9.0", 150 << 30, "13.0", "580.1"))
NONE = Machine("linux-x86_64", None, "the driver finds no GPU")
FIGURES = {"median": 2.0, "p95": 3.0, "p99": 4.0, "min": 1.0}
QUICK = ["--frame", "48x64", "--runs", "1", "--warmup", "0"]


@pytest.fixture(scope="module")
def micro(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    pytest.importorskip("torch", reason="needs the extra 'train'")
    if not (root / "train" / "assets" / "micro.pt").is_file():
        pytest.skip("this checkout carries no train/assets/micro.pt")
    path = tmp_path_factory.mktemp("gpu") / "micro.pt"
    assert untrained.main(["micro", "--categories", "3", "--out", str(path)]) == 0
    return path


def test_the_plan_begins_with_what_the_goals_are_set_for() -> None:
    items = plan(["tiny", "base"], [(512, 512), (384, 640)], [12, 150], PATHS, KINDS, (480, 640))
    assert [item.kind for item in items[:5]] == ["kernels", "runs", "runs", "runs", "frame"]
    assert items[4].label() == "base, 512x512, 12 categories, plain"
    assert len([item for item in items if item.kind == "frame"]) == 2 * 2 * 2 * len(PATHS)
    assert len({json.dumps(item.key("x")) for item in items}) == len(items)
    adaptations = [index for index, item in enumerate(items) if item.kind == "adaptation"]
    assert adaptations == [4 + 2 * len(PATHS), 5 + 2 * len(PATHS)]
    only = plan(["tiny"], [(64, 64)], [3], ["plain"], ["frame"], (48, 64))
    assert [item.path for item in only] == ["plain"]


def test_without_a_gpu_there_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "this_machine", lambda: NONE)
    assert gpu.main(["--out", str(tmp_path / "gpu.jsonl")]) == 5
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error: this benchmark needs an NVIDIA GPU: the driver finds no GPU"
    assert not (tmp_path / "gpu.jsonl").exists()
    assert gpu.main(["--list", "--model", "tiny", "--size", "384x640", "--classes", "12"]) == 0
    assert "tiny, 384x640, 12 categories, tensorrt_rtx" in capsys.readouterr().out
    assert gpu.main(["--list", "--size", "big"]) == 2


def test_every_item_is_tried_and_failures_stop_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[str] = []

    def measured(module: str, arguments: Sequence[str], *, timeout: float | None = None) -> dict[str, Any]:
        started.append(f"{module.removeprefix('benchmarks.').removeprefix('gpu.processes.')} {' '.join(arguments)}")
        if "compile" in arguments:
            raise MeasurementError("RuntimeError: no C compiler")
        if "--labels" in arguments:
            labels = np.zeros((4, 4), np.uint8)
            labels[0, 0] = "frozen" in arguments
            np.save(arguments[arguments.index("--labels") + 1], labels)
        if module.endswith(".kernels"):
            broken = {"kernel": "labels", "shape": "150", "failed": "CUDA_ERROR_ILLEGAL_ADDRESS"}
            return {"kernels": [{"kernel": "refine", "shape": "12", "ms": 0.01, "floor_ms": 0.005}, broken]}
        if module.endswith(".adaptation"):
            return {"steps": 2000, "batch_size": 16, "steps_timed": 50, "step_ms": FIGURES, "seconds": 4.0}
        slow = 10 if "plain" in arguments else 1
        return {"host_ms": {**FIGURES, "median": 2.0 * slow}, "device_ms": FIGURES}

    def child(module: str, arguments: Sequence[str], *, timeout: float | None = None) -> str:
        started.append(f"{module} {Path(arguments[0]).name} {arguments[-1]}")
        if arguments[-1] == "tensorrt_rtx":
            raise MeasurementError("compute capability 9.0 is not supported")
        return ""

    monkeypatch.setattr(gpu, "this_machine", lambda: H200)
    monkeypatch.setattr(gpu_measure, "measure", measured)
    monkeypatch.setattr(gpu_measure, "run_child", child)
    monkeypatch.setattr(MadeModels, "checkpoint", lambda self, *settings: Path("ckpt.pt"))
    monkeypatch.setattr(
        MadeModels, "onnx", lambda self, *settings, biases: self.folder / f"model_{settings[-1]}_{biases}.onnx"
    )
    out = tmp_path / "gpu.jsonl"
    arguments = ["--model", "base", "--size", "512", "--classes", "12", "--out", str(out)]
    arguments += ["--keep", str(tmp_path / "kept")]
    assert gpu.main(arguments) == 0
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(records) == 4 + len(PATHS) + 1
    refused = [record["failed"] for record in records if record.get("failed")]
    reason = "no engine could be built: compute capability 9.0 is not supported"
    assert refused == [reason, *[f"it does not run here: {reason}"] * 2, "RuntimeError: no C compiler"]
    assert all(record["machine"]["gpu"].startswith("NVIDIA H200, compute capability 9.0") for record in records)
    said = capsys.readouterr()
    assert "| base | 12 | 512x512 | frozen, CUDA graph, fp16 | 2.00 | 3.00 | 2.00 | 10.0x | 93.8 |" in said.out
    assert "failed: RuntimeError: no C compiler" in said.out
    assert "TensorRT-RTX did not run on compute capability 9.0" in said.out
    assert "TensorRT runs on compute capability 9.0." in said.out
    assert "| refine | 12 | 10.0 | 5.0 | 2.0x |" in said.out
    assert "| labels | 150 | failed: CUDA_ERROR_ILLEGAL_ADDRESS | - | - |" in said.out
    assert "4 s, from 50 steps" in said.out
    assert "Measured on NVIDIA H200" in said.out
    assert not [line for line in started if "tables.tensorrt_rtx.engine" in line]
    assert [line for line in started if "model_int8_fp16_tables.tensorrt.engine" in line]
    assert "| base | 12 | 512x512 | ifseg-rt, TensorRT int8 |" in said.out

    started.clear()
    assert gpu.main(arguments) == 0
    assert [line.split(" ")[0] for line in started] == ["export.to_trt", "torch_model"]  # only what failed, once more


def test_a_run_that_is_out_of_time_says_what_is_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "this_machine", lambda: H200)
    arguments = ["--item", "frame", "--model", "tiny", "--size", "512", "--classes", "12", "--minutes", "-1"]
    assert gpu.main([*arguments, "--out", str(tmp_path / "gpu.jsonl")]) == 0
    assert f"{len(PATHS)} items are left" in capsys.readouterr().err


def test_an_item_that_is_cut_short_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    allowed: list[float | None] = []

    def measured(module: str, arguments: Sequence[str], *, timeout: float | None = None) -> dict[str, Any]:
        allowed.append(timeout)
        clock[0] += 50
        if clock[0] > 100:
            raise MeasurementError("no result within 80 s")
        return {"host_ms": FIGURES}

    monkeypatch.setattr(gpu, "this_machine", lambda: H200)
    monkeypatch.setattr(gpu_measure, "measure", measured)
    monkeypatch.setattr(MadeModels, "checkpoint", lambda self, *settings: Path("ckpt.pt"))
    for module in (gpu, gpu_measure):
        monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    out = tmp_path / "gpu.jsonl"
    arguments = ["--item", "frame", "--path", "plain", "frozen", "compile", "--model", "tiny", "--size", "512"]
    assert gpu.main([*arguments, "--classes", "12", "--minutes", "3", "--out", str(out)]) == 0
    assert [json.loads(line)["key"]["path"] for line in out.read_text().splitlines()] == ["plain", "frozen", "compile"]
    assert allowed == [180, 130, 80]
    out.unlink()
    clock[0] = 0.0
    assert gpu.main([*arguments, "--classes", "12", "--minutes", "2", "--out", str(out)]) == 0
    assert [json.loads(line)["key"]["path"] for line in out.read_text().splitlines()] == ["plain", "frozen"]
    assert "1 items are left" in capsys.readouterr().err


def test_what_nobody_expected_stops_nothing_either(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def measured(module: str, arguments: Sequence[str], *, timeout: float | None = None) -> dict[str, Any]:
        Path(arguments[arguments.index("--labels") + 1]).write_bytes(b"cut short")
        return {"host_ms": FIGURES}

    monkeypatch.setattr(gpu, "this_machine", lambda: H200)
    monkeypatch.setattr(gpu_measure, "measure", measured)
    monkeypatch.setattr(MadeModels, "checkpoint", lambda self, *settings: Path("ckpt.pt"))
    out = tmp_path / "gpu.jsonl"
    arguments = ["--item", "frame", "--path", "plain", "frozen", "--model", "tiny", "--size", "512", "--classes", "12"]
    assert gpu.main([*arguments, "--out", str(out)]) == 0
    assert ["ValueError" in json.loads(line)["failed"] for line in out.read_text().splitlines()] == [True, True]


def test_tables_of_nothing_and_of_failures() -> None:
    assert gpu_table([]) == kernel_table([]) == adaptation_table([]) == ""
    key = {"item": "kernels", "path": "", "model": "", "classes": 0, "size": "0x0", "frame": "0x0", "machine": "x"}
    record = {"benchmark": "gpu", "key": key, "failed": "no NVRTC"}
    assert kernel_table([record]) == "Kernels were not timed: no NVRTC\n"
    adaptation = {**record, "key": {**key, "item": "adaptation", "model": "base", "classes": 12}}
    assert "failed: no NVRTC" in adaptation_table([adaptation])
    assert set(tables_of([{**record, "machine": {}}])) == {"gpu-kernels"}


def test_kernels_are_launched_with_arguments_that_they_take() -> None:
    for work in gpu_kernels.works():
        place = {name: 4096 * (index + 1) for index, name in enumerate(gpu_kernels.arrays_of(work))}
        launches = list(gpu_kernels.launches_of(work, {**place, "out": 1 << 20, "labels": 1 << 24}, 200_000))
        assert len(launches) == len(work.kernel.split(" + "))
        assert work.bytes > 0
    assert {work.kernel for work in gpu_kernels.works()} == {
        "preprocess",
        "softmax",
        "refine",
        "labels",
        "refine + labels",
    }


def test_kernels_get_sensible_arrays() -> None:
    work = next(work for work in gpu_kernels.works() if work.kernel == "refine")
    arrays = gpu_kernels.arrays_of(work)
    assert arrays["planes"].shape == (work.classes, 1024)
    assert arrays["planes"].sum(axis=0) == pytest.approx(1, abs=1e-5)
    assert arrays["neighbours"].dtype == np.int32
    assert (arrays["neighbours"][:, 0] == np.arange(1024)).all()


@pytest.mark.parametrize("path", ["plain", "frozen"])
def test_paths_of_pytorch_on_the_cpu(
    path: str, micro: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "labels.npy"
    options = ["--path", path, "--size", "64", "--device", "cpu", "--precision", "fp32", "--labels", str(labels)]
    assert gpu_torch.main([str(micro), *options, *QUICK]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["host_ms"]["median"] > 0
    assert record["device_ms"]["median"] > 0
    assert np.load(labels).shape == (48, 64)


def test_both_paths_of_pytorch_label_alike(micro: Path) -> None:
    from benchmarks.gpu.frozen import FrozenFrame
    from benchmarks.speed.plain import PlainSegmenter
    from benchmarks.speed.timing import synthetic_frames
    from train import load_model

    (frame,) = synthetic_frames(64, 64, 1)
    model = load_model(micro)
    frozen = FrozenFrame(model, (64, 64), (64, 64), device="cpu", precision="fp32").from_host(frame)
    plain, stages = PlainSegmenter(model, (64, 64))(frame)
    assert (plain == frozen).mean() > 0.999
    assert set(stages) == {"preprocess", "inference", "refinement", "labels"}


def test_our_kernels_need_a_gpu(micro: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--path", "frozen-kernels", "--size", "64", "--device", "cpu", *QUICK]
    assert gpu_torch.main([str(micro), *options]) == 2
    assert "our kernels need a GPU" in capsys.readouterr().err


def test_an_adaptation_is_timed_by_some_of_its_steps(micro: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--batch-size", "1", "--device", "cpu", "--steps"]
    assert gpu_adaptation.main([str(micro), *options, "100", "--warmup", "0", "--timed", "2"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["steps_timed"] == 1  # between the ends of two steps lies one
    assert record["seconds"] == pytest.approx(100 * record["step_ms"]["median"] / 1e3, abs=0.1)
    assert gpu_adaptation.main([str(micro), *options, "1", "--full"]) == 0
    assert json.loads(capsys.readouterr().out)["steps_timed"] == 1


def test_the_segmenter_is_timed_and_compared(
    color_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "labels.npy"
    arguments = [str(color_model), "--device", "cpu", "--labels", str(labels), "--against", str(color_model)]
    assert gpu_segmenter.main([*arguments, *QUICK]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["runs_on"] == "cpu"
    assert record["label_agreement"] == 1
    assert np.load(labels).shape == (48, 64)
    assert gpu_segmenter.main([str(tmp_path / "absent.engine"), *QUICK]) != 0
    shutil.rmtree(tmp_path)
