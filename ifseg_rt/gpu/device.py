"""The one GPU a segmenter works on: every call of CUDA outside the kernels and the run times is made here.

Nothing in this module decides anything: it can only be tried where there is a GPU. All methods but :meth:`Gpu.current`
expect to run inside its block and raise what CUDA's libraries raise; callers wrap them in
:func:`ifseg_rt.gpu.cuda_errors.device_errors`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from math import prod
from typing import Any

import numpy as np

from ifseg_rt.gpu.cuda_errors import device_errors
from ifseg_rt.gpu.foreign_frame import DeviceView
from ifseg_rt.gpu.memory import DeferredFree, Memory, PinnedMemory
from ifseg_rt.kernels.compile import cuda_core
from ifseg_rt.kernels.launches import Launch
from ifseg_rt.kernels.loaded import LoadedKernels

_PORTABLE = 1  # CU_MEMHOSTALLOC_PORTABLE: page-locked for every context of the process
_LEGACY_DEFAULT_STREAM = 1
_DEFERRED = DeferredFree()


class RecordedGraph:
    """A recorded frame: launched again and again on the stream it was recorded on; freed when it is gone, too."""

    def __init__(self, driver: Any, executable: Any, stream: Any) -> None:  # noqa: ANN401
        self._driver = driver
        self._executable = executable
        self._stream = stream
        self._destroy = weakref.finalize(self, _destroy_executable, driver, executable)
        self._destroy.atexit = False

    def launch(self) -> None:
        """Enqueue the whole recording."""
        _checked(self._driver, self._driver.cuGraphLaunch(self._executable, self._stream))

    def close(self) -> None:
        """Free it; may be called again. It must not be launched afterwards."""
        self._destroy()


class Gpu:
    """A device, one stream on it, and the kernels loaded for it.

    Attributes:
        index: ordinal of the GPU.
        name: what the driver calls it.
        stream: the ``cuda.core.Stream`` all work of one segmenter goes through.
        stream_address: the same as a number, for run times.
        shared_limit: bytes of shared memory a block of threads may have when it asks.

    Raises:
        DeviceError: cuda.core, NVRTC or the driver is missing, or the GPU does not work.
    """

    def __init__(self, index: int = 0) -> None:
        self._core: Any = cuda_core()
        with device_errors("opening the GPU"):
            self._driver: Any = import_module("cuda.bindings.driver")
            _checked(self._driver, self._driver.cuInit(0))
            before = _checked(self._driver, self._driver.cuCtxGetCurrent())
            try:
                self._device = self._core.Device(index)
                self._device.set_current()
                self._context = self._device.context.handle
                self.index = index
                self.name = str(self._device.name)
                self.stream = self._device.create_stream()
                self._handle = self.stream.handle
                self.stream_address = int(self._handle)
                self._kernels = LoadedKernels(self._device)
                self.shared_limit = self._kernels.shared_limit
            finally:
                # The caller's thread keeps the GPU it had chosen; ours is made current for the length of a call.
                _checked(self._driver, self._driver.cuCtxSetCurrent(before))

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make this GPU the calling thread's for the block; afterwards the thread has the one it had before."""
        with device_errors("choosing the GPU"):
            _checked(self._driver, self._driver.cuCtxPushCurrent(self._context))
        try:
            yield
        finally:
            self._driver.cuCtxPopCurrent()

    def allocate(self, size: int) -> Memory:
        """GPU memory of ``size`` bytes, at least 256-byte aligned."""
        return Memory(self._device.allocate(size, stream=self.stream), self._free)

    def allocate_pinned(self, size: int) -> PinnedMemory:
        """Page-locked host memory of ``size`` bytes."""
        address = int(_checked(self._driver, self._driver.cuMemHostAlloc(size, _PORTABLE)))
        return PinnedMemory(address, size, self._free_pinned)

    def launch(self, launch: Launch) -> None:
        """Enqueue one kernel."""
        self._kernels.launch(self.stream, launch)

    def copy(self, target: int, source: int, size: int) -> None:
        """Enqueue a copy of ``size`` bytes between any two of the memories above."""
        _checked(self._driver, self._driver.cuMemcpyAsync(target, source, size, self._handle))

    def synchronize(self) -> None:
        """Wait until all work of the stream is done; other threads run meanwhile."""
        self.stream.sync()
        _DEFERRED.sweep()

    def release(self, work: Callable[[], None]) -> None:
        """Do ``work``, which gives things back, now or once nothing is recorded any more. Its errors are swallowed."""
        _DEFERRED.free(lambda: self._with_context(work))

    def record(self, work: Callable[[], None]) -> RecordedGraph:
        """Record what ``work`` enqueues on the stream, without running it.

        Raises:
            Exception: ``work`` did something that cannot be recorded, or that must not be repeated. The stream is
                usable again.
        """
        # Thread-local: other threads may allocate meanwhile; this one must not, and is told so.
        mode = self._driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        with _DEFERRED.kept():
            _checked(self._driver, self._driver.cuStreamBeginCapture(self._handle, mode))
            try:
                work()
            except BaseException:
                with suppress(Exception):  # the first error is the one to tell
                    self._destroy(_checked(self._driver, self._driver.cuStreamEndCapture(self._handle)))
                raise
            graph = _checked(self._driver, self._driver.cuStreamEndCapture(self._handle))
        try:
            if _calls_host(self._driver, graph):
                # ONNX Runtime frees staging memory like that: repeated, it would be freed and read again and again.
                raise RuntimeError("a part of it calls back into the program, which must happen once")
            executable = _checked(self._driver, self._driver.cuGraphInstantiate(graph, 0))
        finally:
            self._destroy(graph)
        return RecordedGraph(self._driver, executable, self._handle)

    def mark(self) -> Any:  # noqa: ANN401 - a cuda.core.Event
        """Enqueue a point in time."""
        event = self._device.create_event(timing_options(self._core))
        self.stream.record(event)
        return event

    def milliseconds(self, first: Any, second: Any) -> float:  # noqa: ANN401
        """Time between two marks that the stream has passed."""
        return float(second - first)

    def follow(self, stream: int) -> None:
        """Later work of ours begins after what is enqueued on another stream now (an address; 0 is the default)."""
        self.stream.wait(self._core.Stream.from_handle(stream or _LEGACY_DEFAULT_STREAM))

    def lead(self, stream: int) -> None:
        """Later work of another stream begins after what is enqueued on ours now."""
        self._core.Stream.from_handle(stream or _LEGACY_DEFAULT_STREAM).wait(self.stream)

    def view(self, frame: Any) -> DeviceView:  # noqa: ANN401
        """Memory of a foreign array on the GPU; our stream waits for what its owner says is still writing it."""
        views = import_module("cuda.core.utils").StridedMemoryView
        found = views.from_any_interface(frame, stream_ptr=self.stream_address)
        return DeviceView(
            int(found.ptr), tuple(found.shape), found.strides, found.dtype, int(found.device_id), (found, frame)
        )

    def export(
        self,
        memory: Memory,
        offset: int,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        version: tuple[int, int] | None,
    ) -> Any:  # noqa: ANN401 - a PyCapsule
        """A DLPack capsule over a part of ``memory``, which it keeps alive; nothing is ordered by it.

        Args:
            memory: the allocation.
            offset: bytes in it where the array begins.
            shape: of the array, contiguous.
            dtype: of its elements.
            version: newest version of DLPack that the reader knows, ``None`` for one before 1.0.
        """
        size = prod(shape) * dtype.itemsize
        buffer = self._core.Buffer.from_handle(memory.address + offset, size, owner=memory)
        view = import_module("cuda.core.utils").StridedMemoryView.from_buffer(buffer, shape, dtype=dtype)
        return view.__dlpack__(max_version=version)

    def _destroy(self, graph: Any) -> None:  # noqa: ANN401
        if graph is not None and int(graph) != 0:
            _checked(self._driver, self._driver.cuGraphDestroy(graph))

    def _free(self, buffer: Any) -> None:  # noqa: ANN401 - a cuda.core.Buffer
        _DEFERRED.free(lambda: self._with_context(buffer.close))

    def _free_pinned(self, address: int) -> None:
        _DEFERRED.free(lambda: self._with_context(lambda: self._driver.cuMemFreeHost(address)))

    def _with_context(self, work: Callable[[], Any]) -> None:
        # Memory is dropped by any thread, so the context is made current here.
        with self.current():
            work()


def _calls_host(driver: Any, graph: Any) -> bool:  # noqa: ANN401
    """Whether a recorded graph, or one inside it, calls a function of the program.

    Args:
        driver: ``cuda.bindings.driver``.
        graph: a ``CUgraph``.
    """
    kinds, graphs = driver.CUgraphNodeType, [graph]
    while graphs:
        found = graphs.pop()
        _, count = _answer(driver, driver.cuGraphGetNodes(found, 0))
        for node in _checked(driver, driver.cuGraphGetNodes(found, count)):
            kind = _checked(driver, driver.cuGraphNodeGetType(node))
            if kind == kinds.CU_GRAPH_NODE_TYPE_HOST:
                return True
            if kind == kinds.CU_GRAPH_NODE_TYPE_GRAPH:
                graphs.append(_checked(driver, driver.cuGraphChildGraphNodeGetGraph(node)))
    return False


def timing_options(core: Any) -> Any:  # noqa: ANN401
    """``cuda.core.EventOptions`` for events that keep time."""
    try:
        return core.EventOptions(timing_enabled=True)
    except TypeError:  # its name before cuda-core 1.0
        return core.EventOptions(enable_timing=True)


def _destroy_executable(driver: Any, executable: Any) -> None:  # noqa: ANN401
    _checked(driver, driver.cuGraphExecDestroy(executable))


def _checked(driver: Any, answer: tuple[Any, ...]) -> Any:  # noqa: ANN401
    """The first value of a driver call's answer, or the error it reports."""
    values = _answer(driver, answer)
    return values[0] if values else None


def _answer(driver: Any, answer: tuple[Any, ...]) -> list[Any]:  # noqa: ANN401
    status, *values = answer
    if int(status) != 0:
        _, name = driver.cuGetErrorName(status)
        _, words = driver.cuGetErrorString(status)
        raise RuntimeError(f"{_text(name)}: {_text(words)}")
    return values


def _text(value: Any) -> str:  # noqa: ANN401
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
