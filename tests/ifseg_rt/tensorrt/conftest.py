"""Engines built by the real TensorRT-RTX, which needs no GPU for it, and machines that exist only here."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ifseg_rt.errors import DeviceError
from ifseg_rt.machine import GpuFacts, Machine
from ifseg_rt.tensorrt.building.settings import BuildSettings
from ifseg_rt.tensorrt.building.write import write_engine
from ifseg_rt.tensorrt.installed import TensorRt, find_tensorrt

RTX_3060 = GpuFacts("NVIDIA GeForce RTX 3060", "8.6", 12 << 30, "13.0", "580.65.06")
NO_GPU = "the NVIDIA driver is not installed (its library libcuda.so.1 is missing)"


@pytest.fixture(scope="session")
def rtx() -> TensorRt:
    """The installed TensorRT-RTX."""
    try:
        return find_tensorrt("tensorrt_rtx")
    except DeviceError as error:
        pytest.skip(f"engines are not built: {error}")


@pytest.fixture(scope="session")
def gpu_machine() -> Machine:
    """A machine with a GPU."""
    return Machine("linux-x86_64", RTX_3060)


@pytest.fixture(scope="session")
def bare_machine() -> Machine:
    """A machine without one."""
    return Machine("linux-x86_64", None, NO_GPU)


@pytest.fixture(scope="session")
def full(rtx: TensorRt) -> TensorRt:
    """TensorRT-RTX in the clothes of full TensorRT: the classes of both have the same names, and this one cannot be
    told what to build for."""

    class Clothes(SimpleNamespace):
        IBuilderConfig = SimpleNamespace()

        def __getattr__(self, name: str) -> Any:
            return getattr(rtx.module, name)

    return TensorRt("tensorrt", Clothes(), "10.3.0")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache stays as it is."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("IFSEG_RT_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def built(rtx: TensorRt, make_artifact: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of model.onnx, model.json, model.engine and model.engine.json."""
    onnx = make_artifact(tmp_path_factory.mktemp("engine") / "made")
    bare = Machine("linux-x86_64", None, NO_GPU)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IFSEG_RT_CACHE", str(onnx.parent.parent / "cache"))
        write_engine(onnx, onnx.with_suffix(".engine"), BuildSettings(), rtx, machine=bare)
    return onnx.parent


@pytest.fixture
def own_engine(built: Path, tmp_path: Path) -> Path:
    """An engine a test may spoil, its model beside it."""
    folder = tmp_path / "own"
    shutil.copytree(built, folder)
    return folder / "model.engine"
