"""Real builds without a GPU, what a failing one says, and how one is stopped."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import helper

from ifseg_rt.artifact.file_kinds import identify
from ifseg_rt.artifact.shipped import default_model_path
from ifseg_rt.artifact.sidecar import Artifact, read_artifact
from ifseg_rt.errors import DeviceError, ExportError, UsageError
from ifseg_rt.machine import Machine
from ifseg_rt.tensorrt.building.build import build_engine
from ifseg_rt.tensorrt.building.settings import BuildSettings, resolve_targets
from ifseg_rt.tensorrt.installed import TensorRt


class Recorder:
    def __init__(self) -> None:
        self.phases: list[tuple[str, str | None]] = []
        self.steps = 0

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        self.phases.append((phase, parent))

    def step(self, phase: str, step: int) -> None:
        self.steps += 1

    def finish(self, phase: str) -> None:
        pass


def test_the_shipped_model(rtx: TensorRt, bare_machine: Machine, tmp_path: Path) -> None:
    path = default_model_path()
    recorder = Recorder()
    built = build_engine(path, read_artifact(path), BuildSettings(), rtx, machine=bare_machine, progress=recorder)
    engine = tmp_path / "micro.engine"
    engine.write_bytes(built.data)
    assert identify(engine).runtime == "tensorrt_rtx"
    assert 10 << 20 < len(built.data) < 60 << 20
    build = built.build
    assert (build.runtime, build.version, build.compute_capabilities) == ("tensorrt_rtx", rtx.version, ())
    assert build.device is None and build.platform == "linux-x86_64"
    assert build.device_memory is not None and build.device_memory > 1 << 20
    assert recorder.phases[0][1] is None
    assert any(parent is not None for _, parent in recorder.phases)
    assert recorder.steps > 10


def test_for_named_gpus(rtx: TensorRt, bare_machine: Machine, model_path: Path) -> None:
    wishes = BuildSettings(compute_capabilities=("8.9", "12.0", "8.9"))
    built = build_engine(model_path, read_artifact(model_path), wishes, rtx, machine=bare_machine)
    assert built.build.compute_capabilities == ("8.9", "12.0")


def test_turing_is_explained(rtx: TensorRt, bare_machine: Machine, model_path: Path) -> None:
    wishes = BuildSettings(compute_capabilities=("7.5",))
    with pytest.raises(ExportError, match=r"7\.5 \(Turing\).*fp16 only") as caught:
        build_engine(model_path, read_artifact(model_path), wishes, rtx, machine=bare_machine)
    assert "--runtime tensorrt" in str(caught.value.hint)


def test_too_little_scratch_memory(rtx: TensorRt, bare_machine: Machine) -> None:
    path = default_model_path()
    with pytest.raises(ExportError, match="OutOfMemory") as caught:
        build_engine(path, read_artifact(path), BuildSettings(workspace_mb=1), rtx, machine=bare_machine)
    assert "--workspace MB (now 1)" in str(caught.value.hint)


def spoil(path: Path, change: Callable[[onnx.ModelProto], None]) -> Artifact:
    artifact = read_artifact(path)
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)
    return artifact


def test_an_operator_it_does_not_know_is_named(rtx: TensorRt, bare_machine: Machine, own_model: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        node = next(node for node in model.graph.node if node.op_type == "Conv")
        node.op_type, node.name, node.domain = "Entwine", "the odd one", "elsewhere"
        model.opset_import.append(helper.make_opsetid("elsewhere", 1))

    artifact = spoil(own_model, change)
    with pytest.raises(ExportError, match=r"does not accept model\.onnx: operator Entwine, node 'the odd one': "):
        build_engine(own_model, artifact, BuildSettings(), rtx, machine=bare_machine)


def test_a_graph_that_is_none(rtx: TensorRt, bare_machine: Machine, own_model: Path) -> None:
    artifact = read_artifact(own_model)
    own_model.write_bytes(b"hello")
    with pytest.raises(ExportError, match=r"model\.onnx does not fit its sidecar"):
        build_engine(own_model, artifact, BuildSettings(), rtx, machine=bare_machine)


def test_a_graph_of_another_sidecar(
    rtx: TensorRt, bare_machine: Machine, own_model: Path, make_artifact: Callable[..., Path], tmp_path: Path
) -> None:
    other = read_artifact(make_artifact(tmp_path / "other", height=64, width=64))
    with pytest.raises(ExportError, match=r"expected input 'image' float32 \[1, 3, 64, 64\], .*\[1, 3, 64, 96\]"):
        build_engine(own_model, other, BuildSettings(), rtx, machine=bare_machine)

    def rename(model: onnx.ModelProto) -> None:
        model.graph.output[1].name = "logs"
        for node in model.graph.node:
            for index, name in enumerate(node.output):
                if name == "logits":
                    node.output[index] = "logs"
            for index, name in enumerate(node.input):
                if name == "logits":
                    node.input[index] = "logs"

    artifact = spoil(own_model, rename)
    with pytest.raises(ExportError, match="has no output 'logits'"):
        build_engine(own_model, artifact, BuildSettings(), rtx, machine=bare_machine)


def test_interrupted(rtx: TensorRt, bare_machine: Machine) -> None:
    """A signal during the one long call of the builder stops it at its next step."""
    path = default_model_path()
    artifact = read_artifact(path)

    class Slow(Recorder):
        def step(self, phase: str, step: int) -> None:
            super().step(phase, step)
            if self.steps == 3:
                os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.02)

    recorder = Slow()
    received = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            build_engine(path, artifact, BuildSettings(), rtx, machine=bare_machine, progress=recorder)
    finally:
        signal.signal(signal.SIGINT, received)
    assert 3 <= recorder.steps < 20
    assert not any(thread.name == "tensorrt-build" and thread.is_alive() for thread in threading.enumerate())


def test_a_display_that_fails_does_not_stop_the_build(rtx: TensorRt, bare_machine: Machine, model_path: Path) -> None:
    class Broken(Recorder):
        def step(self, phase: str, step: int) -> None:
            raise RuntimeError("no terminal any more")

    built = build_engine(
        model_path, read_artifact(model_path), BuildSettings(), rtx, machine=bare_machine, progress=Broken()
    )
    assert len(built.data) > 1000


@pytest.mark.filterwarnings("ignore:.*TensorRT-RTX.*:DeprecationWarning")  # its timing cache does nothing
def test_full_tensorrt_takes_the_same_way(
    full: TensorRt, gpu_machine: Machine, model_path: Path, own_cache: Path
) -> None:
    artifact = read_artifact(model_path)
    wishes = BuildSettings(hardware_compatibility="ampere_plus", workspace_mb=512)
    build = build_engine(model_path, artifact, wishes, full, machine=gpu_machine).build
    assert (build.runtime, build.version, build.compute_capabilities) == ("tensorrt", "10.3.0", ("8.6",))
    assert (build.device, build.driver, build.driver_cuda) == ("NVIDIA GeForce RTX 3060", "580.65.06", "13.0")
    kept = list((own_cache / "timing").glob("*.timing"))
    assert [file.name for file in kept] == ["tensorrt-10.3.0-NVIDIA-GeForce-RTX-3060-sm8.6.timing"]
    build_engine(model_path, artifact, wishes, full, machine=gpu_machine)  # reads and extends it

    # The lean runtime that such an engine carries is not part of TensorRT-RTX: its own words reach the user.
    with pytest.raises(ExportError, match="libnvinfer_lean"):
        build_engine(model_path, artifact, BuildSettings(version_compatible=True), full, machine=gpu_machine)


@pytest.mark.filterwarnings("ignore:.*TensorRT-RTX.*:DeprecationWarning")
def test_a_cache_that_cannot_be_kept_costs_nothing_but_time(
    full: TensorRt, gpu_machine: Machine, model_path: Path, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    artifact = read_artifact(model_path)
    assert build_engine(model_path, artifact, BuildSettings(), full, machine=gpu_machine, timings=blocked / "x").data
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    name = "tensorrt-10.3.0-NVIDIA-GeForce-RTX-3060-sm8.6.timing"
    (damaged / name).write_bytes(b"garbage")
    assert build_engine(model_path, artifact, BuildSettings(), full, machine=gpu_machine, timings=damaged).data
    assert (damaged / name).read_bytes() != b"garbage"


def test_a_builder_that_does_not_start(rtx: TensorRt, gpu_machine: Machine, model_path: Path) -> None:
    class Refusing:
        ILogger = rtx.module.ILogger
        IBuilderConfig = object

        @staticmethod
        def Builder(logger: object) -> None:
            logger.log(rtx.module.ILogger.Severity.ERROR, "[a.cpp::b::1] CUDA initialization failure")
            raise TypeError("factory function returned nullptr")

    tensorrt = TensorRt("tensorrt", Refusing, "10.3.0")
    with pytest.raises(DeviceError, match=r"TensorRT 10\.3\.0 does not start: CUDA initialization failure"):
        build_engine(model_path, read_artifact(model_path), BuildSettings(), tensorrt, machine=gpu_machine)


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        (
            BuildSettings(compute_capabilities=("8.7",)),
            "does not build for compute capability 8.7; it builds for 7.5, 8",
        ),
        (BuildSettings(compute_capabilities=("sm86",)), "looks like 8.6"),
        (BuildSettings(compute_capabilities=("all", "8.6")), "'all' alone"),
        (BuildSettings(version_compatible=True), "no version-compatible engines"),
        (BuildSettings(hardware_compatibility="ampere_plus"), "no hardware compatibility 'ampere_plus'"),
        (BuildSettings(workspace_mb=0), "at least 1 MB"),
    ],
)
def test_wishes_of_rtx(rtx: TensorRt, gpu_machine: Machine, wishes: BuildSettings, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve_targets(wishes, rtx, gpu_machine)


def test_targets(rtx: TensorRt, full: TensorRt, gpu_machine: Machine, bare_machine: Machine) -> None:
    current, named = BuildSettings(compute_capabilities=("current",)), BuildSettings(compute_capabilities=("8.9",))
    everything = BuildSettings(compute_capabilities=("all",))
    assert resolve_targets(current, rtx, gpu_machine) == ("8.6",)
    assert resolve_targets(everything, rtx, gpu_machine) == ()
    assert resolve_targets(BuildSettings(), full, gpu_machine) == ("8.6",)
    assert resolve_targets(BuildSettings(version_compatible=True), full, gpu_machine) == ("8.6",)
    with pytest.raises(DeviceError, match="needs an NVIDIA GPU to build for it") as caught:
        resolve_targets(current, rtx, bare_machine)
    assert "--compute-capability" in str(caught.value.hint)
    with pytest.raises(DeviceError, match="none that works: the NVIDIA driver is not installed") as caught:
        resolve_targets(BuildSettings(), full, bare_machine)
    assert "--runtime tensorrt_rtx" in str(caught.value.hint)
    with pytest.raises(UsageError, match=r"builds for the GPU it runs on \(compute capability 8.6\), not for 8.9"):
        resolve_targets(named, full, gpu_machine)
    with pytest.raises(UsageError, match="not for all"):
        resolve_targets(everything, full, gpu_machine)


def test_a_model_in_two_files(rtx: TensorRt, bare_machine: Machine, own_model: Path, tmp_path: Path) -> None:
    """The parser finds the data file beside the graph."""
    artifact = read_artifact(own_model)
    folder = tmp_path / "two"
    folder.mkdir()
    model = onnx.load(own_model)
    onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    assert (folder / "model.onnx.data").is_file()
    assert build_engine(folder / "model.onnx", artifact, BuildSettings(), rtx, machine=bare_machine).data
    shutil.move(folder / "model.onnx.data", folder / "elsewhere")
    with pytest.raises(ExportError, match="does not accept"):
        build_engine(folder / "model.onnx", artifact, BuildSettings(), rtx, machine=bare_machine)
