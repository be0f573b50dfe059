"""What ONNX Runtime needs before it runs on a GPU and before a run of it can be recorded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ifseg_rt.artifact.sidecar import read_artifact
from ifseg_rt.backends.onnx_runtime import session as onnx_session
from ifseg_rt.backends.onnx_runtime.gpu_network import OnnxOnGpu
from ifseg_rt.backends.onnx_runtime.session import CPU, CUDA, import_runtime, why_no_gpu


def part(provider: str, nodes: int) -> SimpleNamespace:
    return SimpleNamespace(ep_name=provider, get_nodes=lambda: [object()] * nodes)


class Session:
    """A session whose nodes lie where they are told to; for the rest the given one."""

    def __init__(self, real: Any, parts: list[SimpleNamespace]) -> None:
        self._real, self._parts = real, parts
        self.runs = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def get_provider_graph_assignment_info(self) -> list[SimpleNamespace]:
        return self._parts

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        self.runs += 1


@pytest.mark.parametrize(("parts", "runs"), [([part(CUDA, 9)], 2), ([part(CUDA, 9), part(CPU, 1)], 0), ([], 0)])
def test_memory_of_the_second_run_is_taken_before_a_recording(
    open_gpu_runner: Callable[..., Any], model_path: Path, parts: list[SimpleNamespace], runs: int
) -> None:
    session = Session(open_gpu_runner()[2].session, parts)
    network = OnnxOnGpu(import_runtime(), session, model_path, read_artifact(model_path), "cuda")
    assert (network.why_not_recordable() is None) == (runs > 0)
    assert session.runs == runs


def test_libraries_that_lie_elsewhere_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """ONNX Runtime installed with --target or for one user, and CUDA beside PyTorch."""
    for name in ("own/nvidia/cu13/lib/libcudart.so.13", "all/nvidia/cu13/lib/libcublas.so.13"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    (tmp_path / "all/nvidia/cudnn/lib").mkdir(parents=True)
    (tmp_path / "all/nvidia/cudnn/lib/libcudnn.so.9").touch()
    (tmp_path / "all/nvidia/cuda_python").mkdir()
    packages = SimpleNamespace(__path__=[str(tmp_path / name / "nvidia") for name in ("own", "all", "absent")])
    monkeypatch.setattr(onnx_session, "import_module", lambda name: packages)
    asked: list[str | None] = []
    runtime = SimpleNamespace(
        __file__=str(tmp_path / "own/onnxruntime/__init__.py"),
        preload_dlls=lambda directory=None: asked.append(directory),
    )
    assert why_no_gpu(runtime, "cuda") is None
    assert asked == [None, *(str(tmp_path / f"all/nvidia/{name}/lib") for name in ("cu13", "cudnn"))]


def test_no_such_packages_are_no_obstacle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(onnx_session, "import_module", absent)
    asked: list[str | None] = []
    runtime = SimpleNamespace(
        __file__=str(tmp_path / "onnxruntime/__init__.py"), preload_dlls=lambda directory=None: asked.append(directory)
    )
    assert why_no_gpu(runtime, "cuda") is None
    assert asked == [None]
