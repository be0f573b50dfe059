"""What is known before an engine is deserialised, and what a failing runtime says."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from ifseg_rt.errors import ArtifactError, DeviceError
from ifseg_rt.machine import GpuFacts, Machine
from ifseg_rt.tensorrt.compatibility import check, mismatches
from ifseg_rt.tensorrt.installed import TensorRt
from ifseg_rt.tensorrt.loading import CheckedEngine, check_engine, load_engine
from ifseg_rt.tensorrt.schema import EngineArtifact
from ifseg_rt.tensorrt.sidecar import engine_sidecar_path, read_engine, write_engine_sidecar

GPU = GpuFacts("NVIDIA GeForce RTX 3060", "8.6", 12 << 30, "13.0", "580.65.06")
ORIN = GpuFacts("Orin", "8.7", 8 << 30, "12.6")


@pytest.fixture(scope="module")
def artifact(built: Path) -> EngineArtifact:
    return read_engine(built / "model.engine")


def changed(engine: EngineArtifact, **changes: Any) -> EngineArtifact:
    return msgspec.structs.replace(engine, build=msgspec.structs.replace(engine.build, **changes))


def full_build(engine: EngineArtifact, **changes: Any) -> EngineArtifact:
    facts = {"runtime": "tensorrt", "version": "10.3.0", "compute_capabilities": ("8.6",), "cuda": None}
    return changed(engine, **{**facts, **changes})


def found(engine: EngineArtifact, tensorrt: TensorRt, gpu: GpuFacts = GPU, platform: str = "linux-x86_64") -> list[str]:
    return mismatches(engine, tensorrt, Machine(platform, gpu), gpu)


def test_a_fitting_engine(artifact: EngineArtifact, rtx: TensorRt) -> None:
    assert found(artifact, rtx) == []
    assert found(artifact, rtx, platform="windows-x86_64") == []
    assert found(changed(artifact, compute_capabilities=("8.6", "8.9")), rtx) == []


@pytest.mark.parametrize(
    ("changes", "gpu", "platform", "message"),
    [
        ({"version": "1.6.0.1"}, GPU, "linux-x86_64", "built with TensorRT-RTX 1.6.0.1, here is TensorRT-RTX 1.7"),
        (
            {"compute_capabilities": ("8.9",)},
            GPU,
            "linux-x86_64",
            "for compute capability 8.9, NVIDIA GeForce RTX 3060",
        ),
        ({}, replace(GPU, compute_capability="7.5"), "linux-x86_64", "8.0 and later, NVIDIA GeForce RTX 3060 has 7.5"),
        ({}, GPU, "linux-aarch64", "built on linux-x86_64, this is linux-aarch64"),
        ({"cuda": "13"}, ORIN, "linux-x86_64", "built for CUDA 13, the driver here supports CUDA up to 12.6"),
        ({"device_memory": 20 << 30}, GPU, "linux-x86_64", "takes about 20.* MiB of GPU memory, .* has 12288 MiB"),
    ],
)
def test_mismatches_of_rtx(
    artifact: EngineArtifact, rtx: TensorRt, changes: dict, gpu: GpuFacts, platform: str, message: str
) -> None:
    lines = found(changed(artifact, **changes), rtx, gpu, platform)
    assert len(lines) == 1
    assert re.search(message, lines[0])


def test_flavours_do_not_mix(artifact: EngineArtifact, rtx: TensorRt, full: TensorRt) -> None:
    assert found(artifact, full) == [f"built with TensorRT-RTX {rtx.version}, here is TensorRT 10.3.0"]
    assert found(full_build(artifact), rtx) == [f"built with TensorRT 10.3.0, here is {rtx.title}"]


@pytest.mark.parametrize(
    ("changes", "version", "gpu", "fits"),
    [
        ({}, "10.3.0", GPU, True),
        ({}, "10.4.0", GPU, False),
        ({}, "10.3.0", ORIN, False),
        ({"version_compatible": True}, "10.13.2.6", GPU, True),
        ({"version_compatible": True}, "11.4.0.106", GPU, True),
        ({"version_compatible": True}, "12.0.0", GPU, False),
        ({"version_compatible": True, "version": "11.4.0"}, "11.2.1", GPU, False),
        ({"hardware_compatibility": "ampere_plus"}, "10.3.0", ORIN, True),
        ({"hardware_compatibility": "ampere_plus"}, "10.3.0", replace(GPU, compute_capability="7.5"), False),
        ({"hardware_compatibility": "same_compute_capability"}, "10.3.0", GPU, True),
        ({"hardware_compatibility": "same_compute_capability"}, "10.3.0", ORIN, False),
    ],
)
def test_full_tensorrt(
    artifact: EngineArtifact, full: TensorRt, changes: dict, version: str, gpu: GpuFacts, fits: bool
) -> None:
    here = TensorRt("tensorrt", full.module, version)
    assert (found(full_build(artifact, **changes), here, gpu) == []) is fits
    assert found(full_build(artifact), TensorRt("tensorrt", None, "10.3.0"), platform="windows-x86_64") == [
        "built on linux-x86_64, this is windows-x86_64"
    ]


def test_every_mismatch_is_named_with_the_remedy(artifact: EngineArtifact, full: TensorRt, built: Path) -> None:
    engine = full_build(artifact, version="10.0.0", device="NVIDIA A100", compute_capabilities=("8.0",))
    with pytest.raises(ArtifactError) as caught:
        check(built / "model.engine", engine, full, Machine("linux-aarch64", ORIN))
    lines = str(caught.value).splitlines()
    assert lines[0] == "model.engine does not fit this machine: "
    assert len(lines) == 4
    assert "TensorRT 10.0.0, here is TensorRT 10.3.0" in lines[1]
    assert "for compute capability 8.0 (NVIDIA A100), Orin has 8.7" in lines[3]
    assert "ifseg-rt rebuild" in str(caught.value.hint)
    assert "python -m export.to_trt" in str(caught.value.hint)


def test_order_of_the_checks(own_engine: Path, rtx: TensorRt, bare_machine: Machine, gpu_machine: Machine) -> None:
    with pytest.raises(DeviceError) as caught:
        check_engine(own_engine, machine=bare_machine)
    assert str(caught.value) == (
        "model.engine needs an NVIDIA GPU, and this machine has none that works: the NVIDIA driver is not installed "
        "(its library libcuda.so.1 is missing)"
    )
    assert caught.value.exit_code == 5
    assert caught.value.hint == f"{own_engine.with_suffix('.onnx')} runs on the CPU"
    own_engine.with_suffix(".onnx").unlink()
    with pytest.raises(DeviceError) as caught:
        check_engine(own_engine, machine=bare_machine)
    assert caught.value.hint == "the ONNX model it was built from runs on the CPU"

    checked = check_engine(own_engine, machine=gpu_machine)
    assert (checked.path, checked.tensorrt.name) == (own_engine, "tensorrt_rtx")
    other = changed(checked.artifact, version="1.6.0.1")
    write_engine_sidecar(other, engine_sidecar_path(own_engine))
    with pytest.raises(ArtifactError, match=r"TensorRT-RTX 1\.6\.0\.1, here is TensorRT-RTX 1\.7"):
        check_engine(own_engine, machine=gpu_machine)
    own_engine.write_bytes(b"x")  # a damaged file is told before a missing GPU
    with pytest.raises(ArtifactError, match="is not the engine its sidecar describes"):
        check_engine(own_engine, machine=bare_machine)


def test_a_tensorrt_that_is_not_here(own_engine: Path, gpu_machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    write_engine_sidecar(full_build(read_engine(own_engine)), engine_sidecar_path(own_engine))
    with pytest.raises(DeviceError, match=r"model\.engine was built with TensorRT 10\.3\.0: .* not usable") as caught:
        check_engine(own_engine, machine=gpu_machine)
    assert "pip install tensorrt" in str(caught.value.hint)
    assert "ifseg-rt rebuild" in str(caught.value.hint)


def test_what_a_bf16_engine_says_without_a_gpu(own_engine: Path, bare_machine: Machine) -> None:
    engine = read_engine(own_engine)
    low = msgspec.structs.replace(engine, model=msgspec.structs.replace(engine.model, precision="bf16"))
    write_engine_sidecar(low, engine_sidecar_path(own_engine))
    with pytest.raises(DeviceError) as caught:
        check_engine(own_engine, machine=bare_machine)
    assert "a bf16 model runs on GPUs only" in str(caught.value.hint)


def test_the_real_runtime_without_a_driver(built: Path, gpu_machine: Machine) -> None:
    """The checks are told of a GPU that is not there; what TensorRT-RTX says then is passed on, nothing is None."""
    from ifseg_rt.machine import this_machine

    if this_machine().gpu is not None:
        pytest.skip("this machine has a GPU: its engine would load")
    checked = check_engine(built / "model.engine", machine=gpu_machine)
    with pytest.raises(DeviceError, match=r"refuses model\.engine: .*CUDA"):
        load_engine(checked)


class FakeRuntime:
    """A runtime of full TensorRT: no question of validity, and an engine that may be None."""

    def __init__(self, logger: Any, engine: object, said: str | None) -> None:
        self.logger, self.engine, self.said = logger, engine, said
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, data: bytes) -> object:
        if self.said is not None:
            self.logger.log(SimpleNamespace(name="ERROR"), self.said)
        return self.engine


class FakeLogger:
    def __init__(self) -> None:
        pass


def checked_with(checked: CheckedEngine, runtime: Callable[[Any], Any], **more: Any) -> CheckedEngine:
    module = SimpleNamespace(ILogger=FakeLogger, Runtime=runtime, **more)
    return replace(checked, tensorrt=TensorRt("tensorrt", module, "10.3.0"))


@pytest.fixture
def checked(built: Path, gpu_machine: Machine) -> CheckedEngine:
    return check_engine(built / "model.engine", machine=gpu_machine)


def test_full_tensorrt_loads_or_says_why(checked: CheckedEngine) -> None:
    loaded = load_engine(checked_with(checked, lambda logger: FakeRuntime(logger, "engine", None)))
    assert loaded.engine == "engine" and not loaded.runtime.engine_host_code_allowed

    compatible = full_build(checked.artifact, version_compatible=True)
    loaded = load_engine(
        replace(checked_with(checked, lambda logger: FakeRuntime(logger, "engine", None)), artifact=compatible)
    )
    assert loaded.runtime.engine_host_code_allowed

    failing = checked_with(checked, lambda logger: FakeRuntime(logger, None, "[a.cpp::b::1] Error Code 1: no memory"))
    with pytest.raises(DeviceError, match=r"TensorRT 10\.3\.0 cannot load model\.engine: Error Code 1: no memory"):
        load_engine(failing)
    silent = checked_with(checked, lambda logger: FakeRuntime(logger, None, None))
    with pytest.raises(DeviceError, match="it gave no reason"):
        load_engine(silent)

    def none(logger: Any) -> Any:
        raise TypeError("factory function returned nullptr")

    with pytest.raises(DeviceError, match="the runtime of TensorRT"):
        load_engine(checked_with(checked, none))


@pytest.mark.parametrize(
    ("bits", "kind", "message"),
    [
        (1 | 4, ArtifactError, "it is of another TensorRT-RTX version; the CUDA driver is too old for it"),
        (32, ArtifactError, "it is damaged"),
        (64, DeviceError, "CUDA itself does not work"),
        (0, DeviceError, "it gave no reason"),
    ],
)
def test_diagnoses(checked: CheckedEngine, rtx: TensorRt, bits: int, kind: type[Exception], message: str) -> None:
    asked: list[bytes] = []

    class Asked(FakeRuntime):
        engine_header_size = 64

        def get_engine_validity(self, header: bytes) -> tuple[Any, int]:
            asked.append(header)
            return rtx.module.EngineValidity.INVALID, bits

    more = {name: getattr(rtx.module, name) for name in ("EngineValidity", "EngineInvalidityDiagnostics")}
    with pytest.raises(kind, match=message):
        load_engine(checked_with(checked, lambda logger: Asked(logger, "engine", None), **more))
    assert len(asked[0]) == 64
