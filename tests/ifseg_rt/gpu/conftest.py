"""A stand-in for the GPU alone: the same calls over host memory, with the kernels' NumPy definitions.

There is no way to run CUDA without a GPU, so :class:`HostGpu` takes the place of ``ifseg_rt.gpu.device.Gpu``, and only
of it. Its stream is a queue that runs when it is waited for, so work that is read or overwritten too early shows. The
path, its buffers and recordings, and the network (ONNX Runtime through I/O binding) are the real ones.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import contextmanager
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ifseg_rt.artifact.sidecar import (
    CategoryRecord,
    Preprocess,
    file_record,
    read_artifact,
    sidecar_path,
    write_artifact,
)
from ifseg_rt.backends.onnx_runtime.gpu_network import OnnxOnGpu
from ifseg_rt.backends.onnx_runtime.host_network import session_or_error
from ifseg_rt.backends.onnx_runtime.session import import_runtime
from ifseg_rt.drawing.overlay import blend
from ifseg_rt.gpu.foreign_frame import DeviceView
from ifseg_rt.gpu.runner import GpuRunner
from ifseg_rt.host.preprocess import Preprocessor
from ifseg_rt.host.refinement import refine, softmax
from ifseg_rt.options import Averaging, Extras
from ifseg_rt.upsampling.labels import upsample_confidence, upsample_labels


def at(address: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """The array at an address."""
    size = prod(shape) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(address), dtype=dtype).reshape(shape)


class HostMemory:
    alive = 0

    def __init__(self, size: int) -> None:
        self._bytes = np.full(size + 256, 0xA5, np.uint8)
        self.address = -(-self._bytes.ctypes.data // 256) * 256
        self.size = size
        HostMemory.alive += 1

    def array(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return at(self.address, shape, dtype)

    def __del__(self) -> None:
        HostMemory.alive -= 1


class HostKernels:
    """The definitions that the CUDA kernels must equal."""

    def __init__(self, enqueue: Callable[[Callable[[], Any]], None]) -> None:
        self._enqueue = enqueue

    def preprocess(
        self, stream: Any, frame: int, height: int, width: int, pitch: int, *, swap: bool, out: int, **spec: Any
    ) -> None:
        def work() -> None:
            rows = at(frame, ((height - 1) * pitch + 3 * width,), np.uint8)
            picture = np.lib.stride_tricks.as_strided(rows, (height, width, 3), (pitch, 3, 1))
            size = (spec["out_height"], spec["out_width"])
            settings = Preprocess(*size, "rgb", "stretch", "bilinear", tuple(spec["mean"]), tuple(spec["std"]))
            image = Preprocessor(settings)(np.ascontiguousarray(picture), "bgr" if swap else "rgb")
            at(out, image.shape, np.float32)[:] = image

        assert spec["half"] is False
        self._enqueue(work)

    def finite(self, stream: Any, values: int, count: int, *, flags: int, blocks: int) -> None:
        def work() -> None:
            found = at(flags, (blocks,), np.int32)
            found[:] = 0
            found[-1] = not np.isfinite(at(values, (count,), np.float32)).all()

        self._enqueue(work)

    def softmax(self, stream: Any, logits: int, n: int, classes: int, *, planes: int) -> None:
        def work() -> None:
            at(planes, (classes, n), np.float32)[:] = softmax(at(logits, (n, classes), np.float32)).T

        self._enqueue(work)

    def transpose(self, stream: Any, rows: int, n: int, classes: int, *, planes: int) -> None:
        def work() -> None:
            at(planes, (classes, n), np.float32)[:] = at(rows, (n, classes), np.float32).T

        self._enqueue(work)

    def refine(
        self, stream: Any, planes: int, near: int, n: int, classes: int, stride: int, k: int, rounds: int, *, out: int
    ) -> None:
        def work() -> None:
            rows = np.ascontiguousarray(at(planes, (classes, n), np.float32).T)
            neighbours = at(near, (n, stride), np.int32)
            at(out, (classes, n), np.float32)[:] = refine(rows, neighbours, k=k, rounds=rounds).T

        assert 1 <= k <= stride
        assert rounds > 0
        self._enqueue(work)

    def labels(
        self, stream: Any, planes: int, classes: int, rows: int, columns: int, *, labels: int, wide: bool, **rest: Any
    ) -> None:
        values, confidence, overlay = rest["values"] or planes, rest["confidence"], rest["overlay"]

        def work() -> None:
            shape, grid = (rest["height"], rest["width"]), (classes, rows, columns)
            found = upsample_labels(at(planes, grid, np.float32), *shape)
            at(labels, shape, np.uint16 if wide else np.uint8)[:] = found
            if confidence:
                at(confidence, shape, np.float32)[:] = upsample_confidence(at(values, grid, np.float32), found)
            if overlay is not None:
                pitch = overlay.frame_pitch
                bytes_ = at(overlay.frame, ((shape[0] - 1) * pitch + 3 * shape[1],), np.uint8)
                frame = np.lib.stride_tricks.as_strided(bytes_, (*shape, 3), (pitch, 3, 1))
                colors = at(overlay.palette, (classes, 3), np.uint8)[found]
                assert overlay.picture_pitch == 3 * shape[1]
                at(overlay.picture, (*shape, 3), np.uint8)[:] = blend(np.array(frame), colors, overlay.alpha)

        self._enqueue(work)


class HostReplay:
    def __init__(self, gpu: HostGpu, work: list[Callable[[], Any]]) -> None:
        self._gpu, self._work, self.closed = gpu, work, False

    def launch(self) -> None:
        assert not self.closed
        self._gpu.launches += 1
        for piece in self._work:
            self._gpu.enqueue(piece)

    def close(self) -> None:
        self.closed = True


class HostGpu:
    """``ifseg_rt.gpu.device.Gpu`` over host memory."""

    index, name, stream, stream_address = 0, "stand-in", object(), 4096

    def __init__(self) -> None:
        self.kernels = HostKernels(self.enqueue)
        self.queue: list[Callable[[], Any]] = []
        self.recording: list[Callable[[], Any]] | None = None
        self.launches = self.allocations = self.depth = 0
        self.ordered: list[tuple[str, int]] = []

    @contextmanager
    def current(self) -> Any:
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1

    def enqueue(self, work: Callable[[], Any]) -> None:
        assert self.depth >= 1, "the GPU is not current"
        (self.queue if self.recording is None else self.recording).append(work)

    def allocate(self, size: int) -> HostMemory:
        assert self.recording is None, "no allocation while recording"
        self.allocations += 1
        return HostMemory(size)

    allocate_pinned = allocate

    def copy(self, target: int, source: int, size: int) -> None:
        self.enqueue(lambda: ctypes.memmove(target, source, size))

    def synchronize(self) -> None:
        assert self.recording is None
        while self.queue:
            self.queue.pop(0)()

    def release(self, work: Callable[[], None]) -> None:
        with self.current():
            work()

    def record(self, work: Callable[[], None]) -> HostReplay:
        self.recording = []
        try:
            work()
            return HostReplay(self, self.recording)
        finally:
            self.recording = None

    def mark(self) -> SimpleNamespace:
        mark = SimpleNamespace(time=None)
        self.enqueue(lambda: setattr(mark, "time", len(self.ordered)))
        return mark

    def milliseconds(self, first: Any, second: Any) -> float:
        return float(second.time - first.time + 1)

    def follow(self, stream: int) -> None:
        self.ordered.append(("follow", stream))

    def lead(self, stream: int) -> None:
        self.ordered.append(("lead", stream))

    def view(self, frame: Any) -> DeviceView:
        return frame.view

    def export(self, memory: HostMemory, offset: int, shape: tuple[int, ...], dtype: Any, version: Any) -> Any:
        assert self.depth >= 1, "the GPU is not current"
        return SimpleNamespace(array=at(memory.address + offset, shape, dtype), version=version, memory=memory)


class DeviceArrayLike:
    """What an array library offers for memory on a GPU; here the memory is the host's."""

    def __init__(self, picture: np.ndarray, device: int = 0) -> None:
        self._keep = picture
        strides = tuple(stride // picture.itemsize for stride in picture.strides)
        self.view = DeviceView(picture.ctypes.data, picture.shape, strides, picture.dtype, device, self)
        self.__cuda_array_interface__ = {"version": 3}


class HostNetwork(OnnxOnGpu):
    """The ONNX Runtime network bound to host memory."""

    memory_kind = "cpu"

    def __init__(self, gpu: HostGpu, model: Path) -> None:
        artifact = read_artifact(model)
        session = session_or_error(model, artifact, ["CPUExecutionProvider"], 1)
        super().__init__(import_runtime(), session, model, artifact, "cuda")
        self._gpu = gpu
        self.refusal: str | None = None

    def enqueue(self) -> None:
        self._gpu.enqueue(super().enqueue)

    def why_not_recordable(self) -> str | None:
        return self.refusal


@pytest.fixture
def open_device(model_path: Path) -> Callable[..., tuple[GpuRunner, HostGpu, HostNetwork]]:
    """A device path over the stand-in."""

    def make(
        model: Path = model_path,
        settings: Any = (3, 2),
        *,
        confidence: bool = False,
        overlay: float | None = None,
        **options: Any,
    ) -> Any:
        gpu = HostGpu()
        network = HostNetwork(gpu, model)
        artifact = read_artifact(model)
        averaging, extras = Averaging.of(settings, artifact), Extras(confidence, overlay)
        return GpuRunner(gpu, network, artifact, averaging, extras, **options), gpu, network

    return make


@pytest.fixture
def on_gpu() -> type[DeviceArrayLike]:
    """Wraps a picture as an array on the GPU."""
    return DeviceArrayLike


@pytest.fixture
def make_many(model_path: Path, tmp_path: Path) -> Callable[[int], Path]:
    """A model of any number of categories, its logits random projections of the picture's patches."""

    def make(classes: int) -> Path:
        like = read_artifact(model_path)
        h, w = like.grid
        cells, most = h * w, like.refinement.max_neighbours
        random = np.random.default_rng(0)
        constants = {
            "weights": random.normal(size=(classes, 3, 1, 1)).astype(np.float32),
            "rows": np.array([1, classes, cells], np.int64),
            "grid": np.array([1, classes, h, w], np.int64),
            "near": np.tile(np.arange(cells, dtype=np.int32)[:, None], (1, most))[None],
        }
        nodes = [
            helper.make_node("AveragePool", ["image"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
            helper.make_node("Conv", ["pooled", "weights"], ["planes"]),
            helper.make_node("Reshape", ["planes", "rows"], ["flat"]),
            helper.make_node("Transpose", ["flat"], ["logits"], perm=[0, 2, 1]),
            helper.make_node("Softmax", ["planes"], ["probabilities"], axis=1),
            helper.make_node("Identity", ["near"], ["neighbours"]),
        ]
        shapes = {"probabilities": [1, classes, h, w], "logits": [1, cells, classes]}
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
        outputs.append(helper.make_tensor_value_info("neighbours", TensorProto.INT32, [1, cells, most]))
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, list(like.inputs[0].shape))
        weights = [numpy_helper.from_array(array, name) for name, array in constants.items()]
        graph = helper.make_graph(nodes, "many", [image], outputs, weights)
        path = tmp_path / "many.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        shapes["neighbours"] = [1, cells, most]
        changed = msgspec.structs.replace(
            like,
            files=(file_record(path),),
            categories=tuple(CategoryRecord(f"c{index}", (), (0, 0, 0)) for index in range(classes)),
            outputs=tuple(msgspec.structs.replace(spec, shape=tuple(shapes[spec.name])) for spec in like.outputs),
        )
        write_artifact(changed, sidecar_path(path))
        return path

    return make
