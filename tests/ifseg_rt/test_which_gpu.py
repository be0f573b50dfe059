"""Which GPU: names of devices, GPUs that are not there, and that everything is asked of the one that was named."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ifseg_rt import Segmenter
from ifseg_rt import choose_runner as path_choice
from ifseg_rt.artifact.sidecar import read_artifact
from ifseg_rt.backends.onnx_runtime import session as onnx_session
from ifseg_rt.backends.onnx_runtime.gpu_network import OnnxOnGpu
from ifseg_rt.backends.onnx_runtime.host_network import session_or_error
from ifseg_rt.backends.onnx_runtime.session import CPU, CUDA, TENSORRT, import_runtime, providers_for
from ifseg_rt.cli.main import main
from ifseg_rt.errors import ArtifactError, DeviceError, UsageError
from ifseg_rt.machine import GpuFacts, Machine, require_gpu, this_platform
from ifseg_rt.model_file import refit_engine
from ifseg_rt.options import DeviceChoice
from ifseg_rt.tensorrt.building import build
from ifseg_rt.tensorrt.building.rebuild import rebuild_engine
from ifseg_rt.tensorrt.installed import find_tensorrt

GPUS = (
    GpuFacts("RTX 3060", "8.6", 12 << 30, "13.0", "580.65.06", 0),
    GpuFacts("T4", "7.5", 16 << 30, "13.0", "580.65.06", 1),
)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with an RTX 3060 and a T4, as far as anybody asks about it."""

    def this_machine(index: int = 0) -> Machine:
        if index >= len(GPUS):
            return Machine(this_platform(), None, f"there is no GPU {index}", len(GPUS))
        return Machine(this_platform(), GPUS[index], None, len(GPUS))

    monkeypatch.setattr("ifseg_rt.machine.this_machine", this_machine)
    monkeypatch.setattr("ifseg_rt.tensorrt.building.rebuild.this_machine", this_machine)
    monkeypatch.setattr("ifseg_rt.cli.rebuild.this_machine", this_machine)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def pair(own_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An engine of TensorRT-RTX for every GPU from compute capability 8.0 on."""
    monkeypatch.setenv("IFSEG_RT_CACHE", str(tmp_path / "cache"))
    try:
        find_tensorrt("tensorrt_rtx")
    except DeviceError as error:
        pytest.skip(f"engines are not built: {error}")
    rebuild_engine(own_model, runtime="tensorrt_rtx", machine=Machine(this_platform(), None, "none"))
    return own_model.with_suffix(".engine")


@pytest.mark.parametrize(
    ("text", "kind", "index"),
    [
        ("auto", "auto", None),
        ("cpu", "cpu", None),
        ("cuda", "cuda", None),
        ("cuda:0", "cuda", 0),
        ("cuda:12", "cuda", 12),
        ("tensorrt:1", "tensorrt", 1),
    ],
)
def test_names(text: str, kind: Any, index: int | None) -> None:
    choice = DeviceChoice.parse(text)
    assert choice == DeviceChoice(kind, index)
    assert (str(choice), choice.gpu) == (text, index or 0)


@pytest.mark.parametrize(
    "text", ["", "tpu", "cuda:", "cuda:-1", "cuda:1.0", "cuda:one", "cpu:0", "auto:1", "CUDA", "1"]
)
def test_names_of_nothing(text: str, model_path: Path) -> None:
    with pytest.raises(UsageError, match="device must be auto, cpu, cuda, tensorrt, or cuda:N or tensorrt:N for GPU N"):
        Segmenter(model_path, device=text)


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_that_is_not_there(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceError) as caught:
        Segmenter(model_path, device="cuda:2")
    assert str(caught.value) == (
        'there is no device "cuda:2": expected cuda:0 to cuda:1, since CUDA finds 2 GPUs on this machine'
    )
    assert str(caught.value.hint).startswith("nvidia-smi -L lists the GPUs; CUDA_VISIBLE_DEVICES would hide")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    monkeypatch.setattr("ifseg_rt.machine.this_machine", lambda index: Machine("linux-x86_64", None, "", 1))
    with pytest.raises(DeviceError, match=r'"tensorrt:7": expected tensorrt:0, since CUDA finds 1 GPU on') as caught:
        require_gpu("tensorrt", 7)
    assert str(caught.value.hint).endswith("CUDA_VISIBLE_DEVICES=3,1 hides and renumbers them")


@pytest.mark.usefixtures("two_gpus")
def test_the_command_says_it_too(model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import cv2

    sample = tmp_path / "scene.png"
    cv2.imwrite(str(sample), np.zeros((20, 30, 3), np.uint8))
    model = ["--model", str(model_path), "-o", str(tmp_path / "out.png")]
    assert main([str(sample), *model, "--device", "cuda:5"]) == 5
    assert 'error: there is no device "cuda:5"' in capsys.readouterr().err
    for wrong, code, words in (("cuda:5", 5, "there is no device"), ("cpu", 2, "engines are built for GPUs")):
        assert main(["rebuild", str(model_path), "--device", wrong]) == code
        assert words in capsys.readouterr().err


def test_without_any_gpu_the_usual_reason_is_given(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    none = Machine("linux-x86_64", None, "the driver is not installed")
    monkeypatch.setattr("ifseg_rt.machine.this_machine", lambda index: none)
    with pytest.raises(DeviceError, match=r'device "cuda:1" was asked for; this ONNX Runtime .* is built for the CPU'):
        Segmenter(model_path, device="cuda:1")
    with Segmenter(model_path, device="cpu", threads=1) as segmenter:
        assert segmenter.gpu is None


@pytest.mark.usefixtures("two_gpus")
def test_engines_are_checked_against_the_gpu_that_was_named(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []

    def no_driver(index: int) -> Any:
        opened.append(index)
        raise DeviceError("there is no driver")

    monkeypatch.setattr(path_choice, "_open_gpu", no_driver)
    with pytest.raises(ArtifactError, match=r"built for compute capability 8\.0 and later, T4 has 7\.5"):
        Segmenter(pair, device="cuda:1")
    for device in ("auto", "cuda", "cuda:0", "tensorrt:0"):
        with pytest.raises(DeviceError, match="there is no driver"):
            Segmenter(pair, device=device)
    assert opened == [0] * 4


def test_engines_are_built_on_the_gpu_that_was_named(
    pair: Path, two_gpus: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    current: list[int | None] = []

    @contextmanager
    def noted(machine: Machine) -> Any:
        current.append(None if machine.gpu is None else machine.gpu.index)
        yield

    monkeypatch.setattr(build, "current_gpu", noted)
    assert main(["rebuild", str(pair), "--device", "cuda:1", "--quiet"]) == 0
    assert main(["rebuild", str(pair), "--quiet"]) == 0
    pair.unlink()
    refit_engine(pair, gpu=0)
    assert current == [1, 0, 0]
    capsys.readouterr()


def test_providers_of_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IFSEG_RT_CACHE", str(tmp_path))
    assert providers_for("cuda", gpu=1) == [(CUDA, {"device_id": "1"}), CPU]
    tensorrt, cuda, _ = providers_for("tensorrt", 1234, gpu=3)
    assert tensorrt[1]["device_id"] == cuda[1]["device_id"] == "3"


def test_bound_memory_is_on_the_gpu_of_the_session(model_path: Path) -> None:
    artifact = read_artifact(model_path)
    network = OnnxOnGpu(
        import_runtime(), session_or_error(model_path, artifact, [CPU], 1), model_path, artifact, "cuda", gpu=2
    )
    bound: list[tuple[Any, ...]] = []
    binding = SimpleNamespace(
        bind_input=lambda *given: bound.append(given), bind_output=lambda *given: bound.append(given)
    )
    network._session = SimpleNamespace(io_binding=lambda: binding)
    network.bind({"image": 4096, "logits": 8192, "neighbours": 12288})
    assert [(name, kind, index) for name, kind, index, *_ in bound] == [
        (name, "cuda", 2) for name in ("image", "logits", "neighbours")
    ]


@pytest.mark.usefixtures("two_gpus")
def test_models_are_opened_on_the_gpu_that_was_named(
    model_path: Path, scene: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    asked: list[tuple[str, Any]] = []
    real = onnx_session.open_session

    def session(runtime: Any, model: Path, providers: Any, threads: int | None) -> Any:
        asked.append(("session", providers[0][1]["device_id"]))
        return real(runtime, model, [CPU], threads)

    def gpu(index: int) -> Any:
        asked.append(("kernels", index))
        raise DeviceError("no kernels")

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    monkeypatch.setattr(onnx_session, "open_session", session)
    monkeypatch.setattr(onnx_session, "not_loaded", lambda session, kind: None)
    monkeypatch.setattr(path_choice, "_open_gpu", gpu)
    found = []
    for device in ("cuda:1", "cuda", "auto"):
        with Segmenter(model_path, device=device, threads=1) as segmenter:
            found.append((segmenter.device, segmenter.gpu))
            assert segmenter(scene).labels.shape == (120, 180)
    assert found == [("cuda", 1), ("cuda", 0), ("cuda", 0)]
    assert asked == [("kernels", 1), ("session", "1"), *[("kernels", 0), ("session", "0")] * 2]


def test_the_device_path_tells_its_gpu(open_on: Callable[[int], Any]) -> None:
    for index in (0, 3):
        assert open_on(index).gpu == index


@pytest.fixture
def open_on(model_path: Path) -> Callable[[int], Any]:
    """A device path whose GPU is never used."""
    from ifseg_rt.gpu.runner import GpuRunner
    from ifseg_rt.options import Averaging

    @contextmanager
    def current() -> Any:
        yield

    def make(index: int) -> Any:
        memory = SimpleNamespace(address=4096, size=0)
        gpu = SimpleNamespace(
            index=index,
            name="none",
            current=current,
            allocate=lambda size: memory,
            record=None,
            release=lambda work: None,
        )
        network = SimpleNamespace(device="cuda", bind=lambda addresses: None, why_not_recordable=lambda: None)
        artifact = read_artifact(model_path)
        return GpuRunner(gpu, network, artifact, Averaging.of((3, 2), artifact))  # type: ignore[arg-type]

    return make
