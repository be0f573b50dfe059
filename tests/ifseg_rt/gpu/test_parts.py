"""Decisions of the GPU runner that need no GPU: layout, lending, frames, errors, providers."""

from __future__ import annotations

import gc
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ifseg_rt.artifact.sidecar import TensorSpec, read_artifact
from ifseg_rt.backends.onnx_runtime.gpu_network import why_not_all_on_gpu
from ifseg_rt.backends.onnx_runtime.session import CPU, CUDA, TENSORRT, providers_for
from ifseg_rt.backends.tensorrt.shared_engines import tensor_problem
from ifseg_rt.errors import ArtifactError, DeviceError, SourceError, UsageError
from ifseg_rt.gpu.cuda_errors import device_errors, explain
from ifseg_rt.gpu.foreign_frame import DeviceView, frame_of, is_on_device, stream_address
from ifseg_rt.gpu.layout import lay_out_network, lay_out_result
from ifseg_rt.gpu.memory import ALIGNMENT, Region
from ifseg_rt.gpu.results.blocks import LENT_AT_MOST, BlockPool
from ifseg_rt.options import Extras


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 11), (1080, 1920)])
def test_results_are_laid_out_without_overlap(model_path: Path, height: int, width: int) -> None:
    artifact = read_artifact(model_path)
    plain = lay_out_result(artifact, height, width, Extras())
    assert (plain.confidence, plain.picture, plain.size) == (None, None, plain.planes.end)
    plan = lay_out_result(artifact, height, width, Extras(confidence=True, overlay=0.0))
    assert plan.confidence is not None
    assert plan.picture is not None
    assert plan.confidence.dtype == np.float32
    assert (plan.confidence.shape, plan.picture.shape) == ((height, width), (height, width, 3))
    regions = [plan.flags, plan.labels, plan.planes, plan.confidence, plan.picture]
    for before, after in pairwise(regions):
        assert before.offset + before.size <= after.offset
    assert all(region.offset % ALIGNMENT == 0 for region in regions)
    assert regions[-1].offset + regions[-1].size <= plan.size < regions[-1].offset + regions[-1].size + ALIGNMENT
    assert (plan.labels.shape, plan.labels.size, plan.wide) == ((height, width), height * width, False)
    assert plan.planes.shape == (4, *artifact.grid)


def test_tensors_are_those_of_the_sidecar(model_path: Path) -> None:
    import msgspec

    artifact = read_artifact(model_path)
    plan = lay_out_network(artifact)
    found = {name: (region.shape, region.dtype.name) for name, region in plan.tensors.items()}
    specs = [spec for spec in (*artifact.inputs, *artifact.outputs) if spec.name != "probabilities"]
    assert found == {spec.name: (spec.shape, spec.dtype) for spec in specs}
    lacking = msgspec.structs.replace(artifact, outputs=artifact.outputs[:2])
    with pytest.raises(ArtifactError, match="has no neighbours"):
        lay_out_network(lacking)


class Memory:
    def __init__(self, size: int) -> None:
        self.held = np.zeros(size, np.uint8)
        self.address, self.size = self.held.ctypes.data, size


def test_blocks_come_back_with_their_last_array() -> None:
    made: list[int] = []

    def allocate(size: int) -> Memory:
        made.append(size)
        return Memory(size)

    pool = BlockPool(allocate, 64)
    region = Region(16, (2, 4), np.dtype(np.int16))
    arrays = [pool.take().array(region)[:, 1:] for _ in range(LENT_AT_MOST)]
    assert len(made) == LENT_AT_MOST
    addresses = {array.ctypes.data for array in arrays}
    assert len(addresses) == LENT_AT_MOST
    # All are lent: the next results are copies, through one more block.
    copies = []
    for value in (1, 2, 3):
        block = pool.take()
        block.array(Region(0, (64,), np.dtype(np.uint8)))
        np.frombuffer((np.ctypeslib.ctypes.c_char * 64).from_address(block.address), np.uint8)[:] = value
        copies.append(block.array(region))
    assert [int(copy[0, 0]) for copy in copies] == [0x0101, 0x0202, 0x0303]
    assert len(made) == LENT_AT_MOST + 1
    del arrays[0]
    gc.collect()
    again = pool.take().array(region)[:, 1:]
    assert again.ctypes.data in addresses
    assert len(made) == LENT_AT_MOST + 1


def view(shape: tuple[int, ...], strides: Any = None, dtype: Any = np.uint8, device: int = 0) -> DeviceView:
    return DeviceView(4096, shape, strides, None if dtype is None else np.dtype(dtype), device)


@pytest.mark.parametrize(
    ("shape", "strides", "pitch"),
    [
        ((4, 5, 3), None, 15),
        ((4, 5, 3), (15, 3, 1), 15),
        ((4, 5, 3), (64, 3, 1), 64),
        ((1, 5, 3), (0, 3, 1), 15),
        ((4, 1, 3), (3, 99, 1), 3),
    ],
)
def test_rows_any_distance_apart(shape: tuple[int, ...], strides: Any, pitch: int) -> None:
    frame = frame_of(view(shape, strides), device=0)
    assert (frame.height, frame.width, frame.pitch, frame.address) == (*shape[:2], pitch, 4096)


@pytest.mark.parametrize(
    ("found", "reason", "hint"),
    [
        (view((4, 5)), "H x W x 3, found \\(4, 5\\)", None),
        (view((3, 4, 5)), "H x W x 3", "permute"),
        (view((4, 5, 4)), "H x W x 3", None),
        (view((1, 4, 5, 3)), "H x W x 3", None),
        (view((0, 5, 3)), "empty", None),
        (view((4, 5, 3), dtype=np.float32), "uint8 with values 0..255, found float32", None),
        (view((4, 5, 3), dtype=None), "found None", None),
        (view((4, 5, 3), device=2), "GPU 2, the model on GPU 0", None),
        (view((4, 5, 3), (1, 4, 20)), "side by side", "contiguous"),
        (view((4, 5, 3), (-15, 3, 1)), "side by side", "contiguous"),
        (view((4, 5, 3), (10, 3, 1)), "do not overlap", "contiguous"),
        (view((4, 5, 3), (15, -3, 1)), "side by side", "contiguous"),
    ],
)
def test_frames_that_cannot_be_read_in_place(found: DeviceView, reason: str, hint: str | None) -> None:
    with pytest.raises(SourceError, match=reason) as caught:
        frame_of(found, device=0)
    assert hint is None or hint in str(caught.value.hint)


def test_what_counts_as_on_the_gpu() -> None:
    class Dlpack:
        def __init__(self, kind: Any) -> None:
            self.kind = kind

        def __dlpack_device__(self) -> Any:
            if isinstance(self.kind, Exception):
                raise self.kind
            return self.kind, 0

    assert is_on_device(SimpleNamespace(__cuda_array_interface__={}))
    assert [is_on_device(Dlpack(kind)) for kind in (2, 13, 1, 3, BufferError("x"))] == [True, True, False, False, False]
    assert not any(map(is_on_device, (np.zeros(3), None, "frame", 3)))


def test_streams_in_their_usual_guises() -> None:
    class Protocol:
        def __cuda_stream__(self) -> tuple[int, int]:
            return 0, 5

    class Property:
        __cuda_stream__ = (0, 6)

    streams = [None, 0, 9, Protocol(), Property(), SimpleNamespace(cuda_stream=7), SimpleNamespace(ptr=8)]
    assert [stream_address(stream) for stream in streams] == [None, 0, 9, 5, 6, 7, 8]
    for wrong in ("0", -1, True, 1.5, object()):
        with pytest.raises(UsageError, match="must be a CUDA stream"):
            stream_address(wrong)


def test_errors_of_cuda_in_one_line() -> None:
    error = explain("loading", RuntimeError("CUDA_ERROR_NO_DEVICE: no CUDA-capable device is detected\nmore"))
    assert str(error) == "loading failed: CUDA_ERROR_NO_DEVICE: no CUDA-capable device is detected"
    assert "nvidia-smi" in str(error.hint)
    assert str(explain("loading", ValueError())) == "loading failed: ValueError"
    with pytest.raises(DeviceError, match="waiting failed: x"), device_errors("waiting"):
        raise LookupError("x")
    with pytest.raises(SourceError), device_errors("waiting"):
        raise SourceError("ours")
    with pytest.raises(KeyboardInterrupt), device_errors("waiting"):
        raise KeyboardInterrupt


IMAGE = TensorSpec("image", "float32", (1, 3, 64, 96))
LOGITS = TensorSpec("logits", "float32", (1, 96, 4))
FITTING = {"image": ("INPUT", "float32", (1, 3, 64, 96)), "logits": ("OUTPUT", "float32", (1, 96, 4))}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"image": ("INPUT", "float32", (-1, 3, 64, 96))}, None),
        ({"logits": None}, "output 'logits' should be float32 [1, 96, 4], found none"),
        ({"logits": ("OUTPUT", "float16", (1, 96, 4))}, "found output float16 [1, 96, 4]"),
        ({"logits": ("OUTPUT", "float32", (1, 96, 5))}, "found output float32 [1, 96, 5]"),
        ({"image": ("OUTPUT", "float32", (1, 3, 64, 96))}, "input 'image' should be"),
        ({"image": ("INPUT", "float32", (3, 64, 96))}, "input 'image' should be"),
        ({"probabilities": ("OUTPUT", "float32", (1,))}, "a tensor 'probabilities' that the sidecar does not know"),
    ],
)
def test_tensors_of_engines(changes: dict[str, Any], reason: str | None) -> None:
    found = {name: value for name, value in {**FITTING, **changes}.items() if value is not None}
    problem = tensor_problem(found, {"image": ("INPUT", IMAGE), "logits": ("OUTPUT", LOGITS)})
    assert problem is None if reason is None else reason in str(problem)


def test_execution_providers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IFSEG_RT_CACHE", str(tmp_path))
    assert providers_for("cuda") == [(CUDA, {"device_id": "0"}), CPU]
    (first, options), second, last = providers_for("tensorrt", 1234)
    assert (first, second[0], last) == (TENSORRT, CUDA, CPU)
    assert options["user_compute_stream"] == second[1]["user_compute_stream"] == "1234"
    assert Path(options["trt_engine_cache_path"]).is_dir()
    assert all(isinstance(value, str) for value in options.values())


def test_graphs_with_nodes_elsewhere_are_not_recorded() -> None:
    assert why_not_all_on_gpu({CUDA: 90}) is None
    assert why_not_all_on_gpu({CUDA: 90, CPU: 0}) is None
    assert why_not_all_on_gpu({CUDA: 90, CPU: 2}) == "ONNX Runtime runs 2 on the CPU of 92 nodes"
    assert "does not say" in str(why_not_all_on_gpu({CPU: 2}))
    assert "does not say" in str(why_not_all_on_gpu({}))
