"""Which file is run by what: engines without a GPU, engines made again, fallbacks and their reasons."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ifseg_rt import Segmenter
from ifseg_rt import choose_runner as path_choice
from ifseg_rt.artifact.sidecar import read_artifact
from ifseg_rt.backends.onnx_runtime import session as onnx_session
from ifseg_rt.backends.onnx_runtime.session import CPU, CUDA, TENSORRT
from ifseg_rt.choose_runner import open_runner
from ifseg_rt.cli.main import main
from ifseg_rt.errors import ArtifactError, DeviceError, UsageError
from ifseg_rt.machine import GpuFacts, Machine, this_machine, this_platform
from ifseg_rt.model_file import read_model, refit_engine
from ifseg_rt.options import Averaging, DeviceChoice, RunOptions
from ifseg_rt.tensorrt.building.rebuild import rebuild_engine
from ifseg_rt.tensorrt.installed import find_tensorrt

BARE = Machine(this_platform(), None, "the driver finds no GPU")
WITH_GPU = Machine(this_platform(), GpuFacts("NVIDIA GeForce RTX 3060", "8.6", 12 << 30, "13.0", "580.65.06"))
no_gpu = pytest.mark.skipif(this_machine().gpu is not None, reason="this machine has a GPU")


@pytest.fixture
def pair(own_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An engine of TensorRT-RTX, its sidecar and the ONNX model beside it."""
    monkeypatch.setenv("IFSEG_RT_CACHE", str(tmp_path / "cache"))
    try:
        find_tensorrt("tensorrt_rtx")
    except DeviceError as error:
        pytest.skip(f"engines are not built: {error}")
    rebuild_engine(own_model, runtime="tensorrt_rtx", machine=BARE)
    return own_model.with_suffix(".engine")


@no_gpu
def test_an_engine_without_a_gpu(pair: Path, scene: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DeviceError, match=r"model\.engine needs an NVIDIA GPU, and this machine has none") as caught:
        Segmenter(pair)
    assert caught.value.exit_code == 5
    assert str(caught.value.hint) == f"{pair.with_suffix('.onnx')} runs on the CPU"
    assert "\n" not in str(caught.value)
    with pytest.raises(DeviceError, match="needs an NVIDIA GPU"):
        Segmenter(pair, rebuild=True)
    pair.with_suffix(".onnx").unlink()
    with pytest.raises(DeviceError) as caught:
        Segmenter(pair)
    assert str(caught.value.hint) == "the ONNX model it was built from runs on the CPU"
    sample = pair.with_name("scene.png")
    import cv2

    cv2.imwrite(str(sample), scene)
    assert main(["--model", str(pair), str(sample)]) == 5
    error, hint = capsys.readouterr().err.splitlines()[-2:]
    assert error.startswith("error: model.engine needs an NVIDIA GPU")
    assert hint.startswith("hint: ")


def test_an_engine_brings_its_models_artifact(pair: Path) -> None:
    model = read_model(pair, machine=WITH_GPU)
    assert model.engine is not None
    assert model.artifact == read_artifact(pair.with_suffix(".onnx"))
    averaging = Averaging.of((3, 2), model.artifact)
    with pytest.raises(UsageError, match="runs on a GPU only; device cpu was asked for") as caught:
        open_runner(model, averaging, RunOptions(DeviceChoice("cpu")))
    assert "model.onnx" in str(caught.value.hint)
    if this_machine().gpu is None:  # an engine that fits, and no driver behind the facts
        with pytest.raises(DeviceError):
            open_runner(model, averaging, RunOptions())


def test_an_engine_that_fits_is_left_alone(pair: Path) -> None:
    before = pair.stat().st_mtime_ns
    notes: list[str] = []
    refit_engine(pair, machine=WITH_GPU, on_note=notes.append)
    assert (pair.stat().st_mtime_ns, notes) == (before, [])


@pytest.mark.parametrize("spoil", ["missing", "truncated", "sidecar"])
def test_an_engine_that_does_not_fit_is_built_again(pair: Path, spoil: str) -> None:
    if spoil == "missing":
        pair.unlink()
    elif spoil == "truncated":
        pair.write_bytes(pair.read_bytes()[:-7])
    else:
        pair.with_name("model.engine.json").write_text("{}")
    with pytest.raises(ArtifactError):
        read_model(pair, machine=WITH_GPU)
    notes: list[str] = []
    refit_engine(pair, machine=WITH_GPU, on_note=notes.append)
    assert notes[0].startswith("building model.engine again: ")
    assert read_model(pair, machine=WITH_GPU).engine is not None


def test_nothing_is_built_where_it_cannot_run(pair: Path) -> None:
    pair.unlink()
    with pytest.raises(DeviceError, match="the driver finds no GPU"):
        refit_engine(pair, machine=BARE)
    assert not pair.exists()


def test_only_engines_are_rebuilt(model_path: Path) -> None:
    with pytest.raises(UsageError, match="only engines are rebuilt") as caught:
        Segmenter(model_path, rebuild=True)
    assert "ifseg-rt rebuild" in str(caught.value.hint)


def test_tensorrt_insisted_on_is_an_error_without_it(model_path: Path) -> None:
    import onnxruntime

    if TENSORRT in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has TensorRT")
    with pytest.raises(DeviceError, match="has no TensorRT provider") as caught:
        Segmenter(model_path, device="tensorrt")
    assert "ifseg-rt rebuild" in str(caught.value.hint)


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], None]:
    """An ONNX Runtime that claims to have CUDA; sessions really run on the CPU."""
    import onnxruntime

    def pretend(missing: str | None) -> None:
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
        monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
        real = onnx_session.open_session
        monkeypatch.setattr(
            onnx_session,
            "open_session",
            lambda runtime, model, providers, threads: real(runtime, model, [CPU], threads),
        )
        monkeypatch.setattr(onnx_session, "not_loaded", lambda session, kind: missing)

    return pretend


@pytest.mark.parametrize("device", ["auto", "cuda", "tensorrt"])
def test_without_kernels_only_the_network_is_on_the_gpu(
    model_path: Path,
    scene: np.ndarray,
    pretended: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    device: str,
    tmp_path: Path,
) -> None:
    def no_kernels(index: int) -> None:
        raise DeviceError("the CUDA kernels need cuda.core, which does not import: no module")

    monkeypatch.setenv("IFSEG_RT_CACHE", str(tmp_path))
    monkeypatch.setattr(path_choice, "_open_gpu", no_kernels)
    pretended(None)
    with caplog.at_level(logging.WARNING), Segmenter(model_path, device=device, threads=1) as segmenter:
        found = segmenter(scene)
    assert segmenter.device == ("tensorrt" if device == "tensorrt" else "cuda")
    reason = (
        "only the network runs on the GPU, frames and labels are worked on by the CPU: the CUDA kernels need cuda.core"
    )
    assert str(segmenter.fallback_reason).startswith(reason)
    assert reason in caplog.text
    assert found.labels.shape == (120, 180)


def test_a_provider_that_does_not_load_means_the_cpu(
    model_path: Path,
    scene: np.ndarray,
    pretended: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(path_choice, "_open_gpu", lambda index: (_ for _ in ()).throw(DeviceError("no kernels")))
    pretended("a CUDA library is missing")
    with caplog.at_level(logging.WARNING), Segmenter(model_path) as segmenter:
        assert (segmenter.device, segmenter.fallback_reason) == ("cpu", "a CUDA library is missing")
        assert segmenter(scene).labels.shape == (120, 180)
    assert "running on the CPU, because the GPU does not work here: a CUDA library is missing" in caplog.text
    with pytest.raises(DeviceError, match='device "cuda" was asked for, but it does not work here: a CUDA library'):
        Segmenter(model_path, device="cuda")


def test_the_whole_result_is_one_stage_where_nobody_timed_them() -> None:
    from ifseg_rt.stream.pipeline import _stages

    assert _stages({"total": 3.0}) == {"segment": 3.0}
    assert _stages({"preprocess": 1.0, "inference": 2.0, "total": 3.0}) == {"preprocess": 1.0, "inference": 2.0}


def test_a_provider_without_kernels_for_this_board_is_found_out_by_a_run(
    model_path: Path, scene: np.ndarray, pretended: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoKernel:
        def __init__(self, real: Any) -> None:
            self.real = real

        def __getattr__(self, name: str) -> Any:
            return getattr(self.real, name)

        def run(self, *_: Any) -> Any:
            raise RuntimeError("CUDA failure 209: no kernel image is available for execution on the device")

    def no_kernels(index: int) -> None:
        raise DeviceError("no cuda.core here")

    pretended(None)
    on_cpu = onnx_session.open_session

    def session(runtime: Any, model: Any, providers: Any, threads: int | None) -> Any:
        return NoKernel(on_cpu(runtime, model, providers, threads))

    monkeypatch.setattr(onnx_session, "open_session", session)
    monkeypatch.setattr(path_choice, "_open_gpu", no_kernels)
    with Segmenter(model_path, device="auto", threads=1) as segmenter:
        assert segmenter.device == "cpu"
        assert "no kernel image" in str(segmenter.fallback_reason)
        assert set(np.unique(segmenter(scene).labels)) == {0, 1, 2}
    with pytest.raises(DeviceError, match="no kernel image"):
        Segmenter(model_path, device="cuda", threads=1)
