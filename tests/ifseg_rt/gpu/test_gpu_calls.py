"""Which calls of CUDA ``Gpu`` makes, in which order: over a recording stand-in for cuda.core and the driver.

Nothing here shows that CUDA does what it documents; the calls are checked against the signatures of the installed
cuda-bindings, and ``test_on_a_gpu.py`` runs them where there is a GPU.
"""

from __future__ import annotations

import ctypes
import inspect
import threading
from ctypes.util import find_library
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ifseg_rt.errors import DeviceError
from ifseg_rt.gpu import device as device_gpu
from ifseg_rt.gpu.device import Gpu
from ifseg_rt.kernels import compile as compiling
from ifseg_rt.kernels import launch as launching

STREAM, CONTEXT, BEFORE = 640, 77, 11


def real_driver() -> Any:
    try:
        return import_module("cuda.bindings.driver")
    except ImportError:
        return None


class Driver:
    """Answers as ``cuda.bindings.driver`` does: a tuple, the status first."""

    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL="thread local")
    CUgraphNodeType = SimpleNamespace(CU_GRAPH_NODE_TYPE_HOST="host", CU_GRAPH_NODE_TYPE_GRAPH="graph")

    def __init__(self) -> None:
        self.answers = {"cuCtxGetCurrent": BEFORE, "cuStreamEndCapture": 500, "cuGraphInstantiate": 600}
        self.calls: list[tuple[Any, ...]] = []
        self.fails: dict[str, int] = {}
        self.nodes: dict[int, list[tuple[str, int]]] = {}  # of every graph: kinds, and the graphs inside
        self.pinned: dict[int, Any] = {}
        self.real = real_driver()

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cu"):
            raise AttributeError(name)

        def call(*arguments: Any) -> tuple[Any, ...]:
            if self.real is not None:
                inspect.signature(getattr(self.real, name)).bind(*arguments)
            self.calls.append((name, *arguments))
            status = self.fails.get(name, 0)
            return (status, self.answers[name]) if name in self.answers else (status,)

        return call

    def cuMemHostAlloc(self, size: int, flags: int) -> tuple[int, int]:
        memory = (ctypes.c_char * size)()
        address = ctypes.addressof(memory)
        self.pinned[address] = memory
        self.calls.append(("cuMemHostAlloc", size, flags))
        return 0, address

    def cuGraphGetNodes(self, graph: int, count: int) -> tuple[int, list[Any], int]:
        nodes = self.nodes.get(graph, [("kernel", 0)])
        return 0, nodes[:count], len(nodes)

    def cuGraphNodeGetType(self, node: tuple[str, int]) -> tuple[int, str]:
        return 0, node[0]

    def cuGraphChildGraphNodeGetGraph(self, node: tuple[str, int]) -> tuple[int, int]:
        return 0, node[1]

    def cuGetErrorName(self, status: int) -> tuple[int, bytes]:
        return 0, b"CUDA_ERROR_OUT_OF_MEMORY"

    def cuGetErrorString(self, status: int) -> tuple[int, bytes]:
        return 0, b"out of memory"

    def names(self) -> list[str]:
        return [name for name, *_ in self.calls]


class Rig:
    """cuda.core, its views and the driver, all pretended."""

    def __init__(self) -> None:
        self.driver = Driver()
        self.waits: list[tuple[int, int]] = []
        self.buffers = 0
        self.device_fails = False
        self.core = SimpleNamespace(
            Device=self.device,
            Stream=SimpleNamespace(from_handle=self.stream),
            Buffer=SimpleNamespace(from_handle=lambda address, size, owner: (address, size, owner)),
            EventOptions=lambda timing_enabled: timing_enabled,
        )
        self.views = SimpleNamespace(
            from_any_interface=lambda frame, stream_ptr: frame(stream_ptr),
            from_buffer=lambda buffer, shape, dtype: SimpleNamespace(
                __dlpack__=lambda max_version: (*buffer, shape, dtype, max_version)
            ),
        )

    def device(self, index: int) -> SimpleNamespace:
        if self.device_fails:
            raise RuntimeError("CUDA_ERROR_NO_DEVICE: no CUDA-capable device is detected")
        return SimpleNamespace(
            name="pretended",
            context=SimpleNamespace(handle=CONTEXT),
            set_current=lambda: self.driver.calls.append(("set_current",)),
            create_stream=lambda: self.stream(STREAM),
            allocate=self.allocate,
            create_event=lambda options: ("event", options),
        )

    def stream(self, address: int) -> SimpleNamespace:
        return SimpleNamespace(
            handle=address,
            sync=lambda: self.driver.calls.append(("sync",)),
            record=lambda event: self.driver.calls.append(("event", event)),
            wait=lambda other: self.waits.append((address, other.handle)),
        )

    def allocate(self, size: int, *, stream: Any) -> SimpleNamespace:
        self.buffers += 1
        number = 4096 * self.buffers
        assert stream.handle == STREAM
        return SimpleNamespace(handle=number, size=size, close=lambda: self.driver.calls.append(("free", number)))

    def load(self, name: str) -> Any:
        return self.driver if name == "cuda.bindings.driver" else SimpleNamespace(StridedMemoryView=self.views)


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    rig = Rig()
    monkeypatch.setattr(compiling, "cuda_core", lambda: rig.core)
    monkeypatch.setattr(launching, "Kernels", lambda device: "kernels")
    monkeypatch.setattr(device_gpu, "import_module", rig.load)
    return rig


@pytest.fixture
def gpu(rig: Rig) -> Gpu:
    gpu = Gpu()
    rig.driver.calls.clear()
    return gpu


def test_opening_leaves_the_callers_context(rig: Rig) -> None:
    gpu = Gpu()
    assert rig.driver.calls == [("cuInit", 0), ("cuCtxGetCurrent",), ("set_current",), ("cuCtxSetCurrent", BEFORE)]
    assert (gpu.index, gpu.name, gpu.stream_address, gpu.kernels) == (0, "pretended", STREAM, "kernels")
    rig.device_fails = True
    with pytest.raises(DeviceError, match="opening the GPU failed: CUDA_ERROR_NO_DEVICE") as caught:
        Gpu()
    assert "nvidia-smi" in str(caught.value.hint)
    assert rig.driver.calls[-1] == ("cuCtxSetCurrent", BEFORE)


def test_a_missing_driver_is_told_with_a_remedy() -> None:
    if real_driver() is None:
        pytest.skip("cuda-bindings is not installed")
    if find_library("cuda") is not None:
        pytest.skip("this machine has the driver")
    with pytest.raises(DeviceError, match="opening the GPU failed") as caught:
        Gpu()
    assert caught.value.hint == "install the NVIDIA driver; the .onnx model runs on the CPU"


def test_the_context_is_given_back_after_errors(gpu: Gpu, rig: Rig) -> None:
    with pytest.raises(KeyError), gpu.current():
        raise KeyError
    assert rig.driver.calls == [("cuCtxPushCurrent", CONTEXT), ("cuCtxPopCurrent",)]
    rig.driver.fails["cuCtxPushCurrent"] = 2
    reason = "choosing the GPU failed: CUDA_ERROR_OUT_OF_MEMORY: out of memory"
    with pytest.raises(DeviceError, match=reason), gpu.current():
        pytest.fail("entered")
    assert rig.driver.names().count("cuCtxPopCurrent") == 1


def test_copies_and_waits(gpu: Gpu, rig: Rig) -> None:
    gpu.copy(1, 2, 3)
    assert gpu.mark() == ("event", True)
    gpu.synchronize()
    assert rig.driver.calls == [("cuMemcpyAsync", 1, 2, 3, STREAM), ("event", ("event", True)), ("sync",)]
    assert gpu.milliseconds(2, 5.5) == 3.5
    gpu.follow(0)  # the default stream has a name of its own
    gpu.follow(9)
    gpu.lead(0)
    gpu.lead(9)
    assert rig.waits == [(STREAM, 1), (STREAM, 9), (1, STREAM), (9, STREAM)]
    rig.driver.fails["cuMemcpyAsync"] = 2
    with pytest.raises(RuntimeError, match="CUDA_ERROR_OUT_OF_MEMORY: out of memory"):
        gpu.copy(1, 2, 3)


def test_a_recording(gpu: Gpu, rig: Rig) -> None:
    replay = gpu.record(lambda: gpu.copy(1, 2, 3))
    assert rig.driver.calls == [
        ("cuStreamBeginCapture", STREAM, "thread local"),
        ("cuMemcpyAsync", 1, 2, 3, STREAM),
        ("cuStreamEndCapture", STREAM),
        ("cuGraphInstantiate", 500, 0),
        ("cuGraphDestroy", 500),
    ]
    rig.driver.calls.clear()
    replay.launch()
    replay.launch()
    replay.close()
    replay.close()
    assert rig.driver.calls == [*[("cuGraphLaunch", 600, STREAM)] * 2, ("cuGraphExecDestroy", 600)]
    gpu.record(lambda: None)  # nobody closes it
    assert rig.driver.calls[-1] == ("cuGraphExecDestroy", 600)


def test_work_that_cannot_be_recorded_leaves_a_usable_stream(gpu: Gpu, rig: Rig) -> None:
    def work() -> None:
        raise ValueError("not while capturing")

    with pytest.raises(ValueError, match="not while capturing"):
        gpu.record(work)
    assert rig.driver.names() == ["cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphDestroy"]
    rig.driver.fails["cuStreamEndCapture"] = 901
    with pytest.raises(ValueError, match="not while capturing"):  # the first error is the one to tell
        gpu.record(work)
    with pytest.raises(RuntimeError, match="CUDA_ERROR"):
        gpu.record(lambda: None)
    rig.driver.fails.clear()
    gpu.record(lambda: None).launch()


@pytest.mark.parametrize("nested", [False, True])
def test_what_calls_back_is_not_repeated(gpu: Gpu, rig: Rig, nested: bool) -> None:
    callback = [("kernel", 0), ("host", 0)]
    rig.driver.nodes = {500: [("kernel", 0), ("graph", 501)], 501: callback} if nested else {500: callback}
    with pytest.raises(RuntimeError, match="calls back into the program"):
        gpu.record(lambda: None)
    assert rig.driver.names() == ["cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphDestroy"]
    rig.driver.nodes = {500: [("kernel", 0), ("graph", 501), ("memset", 0)]}
    gpu.record(lambda: None).launch()


def test_memory_goes_when_nobody_refers_to_it(gpu: Gpu, rig: Rig) -> None:
    memory = gpu.allocate(100)
    assert (memory.address, memory.size) == (4096, 100)
    del memory
    assert rig.driver.calls == [("cuCtxPushCurrent", CONTEXT), ("free", 4096), ("cuCtxPopCurrent",)]
    rig.driver.calls.clear()
    pinned = gpu.allocate_pinned(24)
    address, array = pinned.address, pinned.array((2, 3), np.float32)[1:]
    del pinned
    array[:] = 5
    assert rig.driver.calls == [("cuMemHostAlloc", 24, 1)]
    del array
    assert rig.driver.calls[2] == ("cuMemFreeHost", address)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_nothing_is_freed_into_a_recording(gpu: Gpu, rig: Rig, elsewhere: bool) -> None:
    """Neither by the garbage collector in the recording thread, nor by another thread."""
    kept = [gpu.allocate(8), gpu.allocate_pinned(8), Gpu().allocate(8)]

    def work() -> None:
        if elsewhere:
            thread = threading.Thread(target=kept.clear)
            thread.start()
            thread.join(timeout=10)
        else:
            kept.clear()

    gpu.record(work)
    names = rig.driver.names()
    assert {"free", "cuMemFreeHost"} <= set(names)
    assert names.count("free") == 2
    assert min(names.index("free"), names.index("cuMemFreeHost")) > names.index("cuStreamEndCapture")


def test_memory_for_readers(gpu: Gpu) -> None:
    memory = gpu.allocate(1000)
    capsule = gpu.export(memory, 256, (4, 5), np.dtype(np.uint16), (1, 0))
    assert capsule == (4096 + 256, 40, memory, (4, 5), np.dtype(np.uint16), (1, 0))
    seen: list[int] = []

    def frame(stream: int) -> SimpleNamespace:
        seen.append(stream)
        return SimpleNamespace(ptr=64, shape=(2, 3, 3), strides=(99, 3, 1), dtype=np.dtype(np.uint8), device_id=0)

    view = gpu.view(frame)
    assert seen == [STREAM]  # which the owner makes wait
    assert (view.address, view.shape, view.strides, view.dtype, view.device) == (64, (2, 3, 3), (99, 3, 1), "uint8", 0)
    assert view.owner[1] is frame
