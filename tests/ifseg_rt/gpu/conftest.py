"""A stand-in for the GPU alone: the same calls over host memory, with the kernels' NumPy definitions.

There is no way to run CUDA without a GPU, so :class:`HostGpu` takes the place of ``ifseg_rt.gpu.device.Gpu``, and only
of it. Its stream is a queue that runs when it is waited for, so work that is read or overwritten too early shows. The
runner, its buffers and recordings, and the network (ONNX Runtime through I/O binding) are the real ones.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import contextmanager
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ifseg_rt.artifact.sidecar import Preprocess, read_artifact
from ifseg_rt.backends.onnx_runtime.gpu_network import OnnxOnGpu
from ifseg_rt.backends.onnx_runtime.host_network import session_or_error
from ifseg_rt.backends.onnx_runtime.session import import_runtime
from ifseg_rt.drawing.overlay import blend
from ifseg_rt.gpu.foreign_frame import DeviceView
from ifseg_rt.gpu.runner import GpuRunner
from ifseg_rt.host.preprocess import Preprocessor
from ifseg_rt.host.refinement import refine, softmax
from ifseg_rt.kernels.launches import Launch
from ifseg_rt.options import Averaging, Extras
from ifseg_rt.upsampling.labels import upsample_confidence, upsample_labels


def at(address: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """The array at an address."""
    size = prod(shape) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(address), dtype=dtype).reshape(shape)


def picture_at(address: int, height: int, width: int, pitch: int) -> np.ndarray:
    """A copy of the picture there."""
    rows = at(address, ((height - 1) * pitch + 3 * width,), np.uint8)
    return np.array(np.lib.stride_tricks.as_strided(rows, (height, width, 3), (pitch, 3, 1)))


class HostMemory:
    def __init__(self, size: int) -> None:
        self._bytes = np.full(size + 256, 0xA5, np.uint8)
        self.address = -(-self._bytes.ctypes.data // 256) * 256
        self.size = size

    def array(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return at(self.address, shape, dtype)


# The definitions that the CUDA kernels must equal, by the kernels' names, over the arguments they are launched with.


def preprocess(frame: int, pitch: int, height: int, width: int, mode: int, swap: int, *rest: Any) -> None:
    _, _, *statistics, out, out_height, out_width, half = rest
    picture = picture_at(frame, height, width, pitch)
    mean, std = tuple(map(float, statistics[:3])), tuple(map(float, statistics[3:]))
    spec = Preprocess(int(out_height), int(out_width), "rgb", "stretch", "bilinear", mean, std)
    image = Preprocessor(spec)(picture, "bgr" if swap else "rgb")
    assert not half
    at(out, image.shape, np.float32)[:] = image


def not_finite(blocks: int, values: int, count: int, flags: int) -> None:
    found = at(flags, (blocks,), np.int32)
    found[:] = 0
    found[-1] = not np.isfinite(at(values, (count,), np.float32)).all()


def softmax_planes(logits: int, n: int, classes: int, planes: int) -> None:
    at(planes, (classes, n), np.float32)[:] = softmax(at(logits, (n, classes), np.float32)).T


def transpose(rows: int, n: int, classes: int, planes: int) -> None:
    at(planes, (classes, n), np.float32)[:] = at(rows, (n, classes), np.float32).T


def average(planes: int, near: int, n: int, stride: int, k: int, rounds: int, *rest: Any, classes: int) -> None:
    rows = np.ascontiguousarray(at(planes, (classes, n), np.float32).T)
    at(rest[-1], (classes, n), np.float32)[:] = refine(rows, at(near, (n, stride), np.int32), k=k, rounds=rounds).T


def label(planes: int, classes: int, rows: int, columns: int, *rest: Any, valued: bool) -> None:
    _, _, _, _, labels, height, width, wide, confidence, *rest = rest
    values = rest.pop(0) if valued else planes
    frame, frame_pitch, picture, picture_pitch, palette, _, alpha = rest
    shape, grid = (int(height), int(width)), (int(classes), int(rows), int(columns))
    found = upsample_labels(at(planes, grid, np.float32), *shape)
    at(labels, shape, np.uint16 if wide else np.uint8)[:] = found
    if confidence:
        at(confidence, shape, np.float32)[:] = upsample_confidence(at(values, grid, np.float32), found)
    if picture:
        colors = at(palette, (grid[0], 3), np.uint8)[found]
        painted = blend(picture_at(frame, *shape, frame_pitch), colors, float(alpha))
        assert picture_pitch == 3 * shape[1]
        at(picture, (*shape, 3), np.uint8)[:] = painted


def run_on_host(launch: Launch) -> None:
    """What a launch leaves in memory."""
    name, arguments = launch.kernel, launch.arguments
    if name == "not_finite":
        not_finite(launch.grid[0], *arguments)
    elif name.startswith("refine"):
        average(*arguments, classes=launch.grid[0])
    elif name.startswith("labels"):
        label(*arguments, valued=name == "labels_valued")
    else:
        {"preprocess": preprocess, "softmax": softmax_planes, "transpose": transpose}[name](*arguments)


class HostReplay:
    def __init__(self, gpu: HostGpu, work: list[Callable[[], Any]]) -> None:
        self._gpu, self._work, self.closed = gpu, work, False

    def launch(self) -> None:
        assert not self.closed
        self._gpu.replays += 1
        for piece in self._work:
            self._gpu.enqueue(piece)

    def close(self) -> None:
        self.closed = True


class HostGpu:
    """``ifseg_rt.gpu.device.Gpu`` over host memory."""

    index, name, stream_address, shared_limit = 0, "stand-in", 4096, 64 * 1024

    def __init__(self) -> None:
        self.run_kernel = run_on_host
        self.queue: list[Callable[[], Any]] = []
        self.recording: list[Callable[[], Any]] | None = None
        self.replays = self.allocations = self.depth = 0
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

    def launch(self, launch: Launch) -> None:
        self.enqueue(lambda: self.run_kernel(launch))

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
        self.session = session
        self._gpu = gpu
        self.refusal: str | None = None

    def enqueue(self) -> None:
        self._gpu.enqueue(super().enqueue)

    def why_not_recordable(self) -> str | None:
        return self.refusal


@pytest.fixture
def open_gpu_runner(model_path: Path) -> Callable[..., tuple[GpuRunner, HostGpu, HostNetwork]]:
    """A GPU runner over the stand-in."""

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
def array_at() -> Callable[[int, tuple[int, ...], Any], np.ndarray]:
    """The array at an address of the stand-in."""
    return at


@pytest.fixture
def on_gpu() -> type[DeviceArrayLike]:
    """Wraps a picture as an array on the GPU."""
    return DeviceArrayLike
