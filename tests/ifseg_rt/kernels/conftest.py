"""Two machines for the same tests: the kernels compiled for this CPU (the shim), and a real GPU where there is one."""

from __future__ import annotations

import ctypes
import functools
import os
import runpy
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from ifseg_rt.kernels.compile import SOURCES
from ifseg_rt.kernels.launches import Launch
from ifseg_rt.kernels.loaded import LoadedKernels

BUILD = runpy.run_path(str(Path(__file__).parents[2] / "stand_ins" / "kernel_shim" / "build.py"))
KERNELS, signatures = BUILD["KERNELS"], BUILD["signatures"]
GUARD = 64  # bytes before and after every array, checked for stray writes
GUARD_BYTE = 0xFF  # what is read there by mistake is not a number
OUTCOMES = {1: "unknown kernel", 2: "deadlock: some threads never reach the barrier", 3: "divergent barrier"}
C_TYPES = {
    "int": np.int32,
    "long long": np.int64,
    "float": np.float32,
    "double": np.float64,
}


def passed_bytes(argument: object) -> bytes:
    """What cuda.core passes for an argument: 8 bytes for an int (an address), the scalar itself for a NumPy scalar."""
    if isinstance(argument, np.generic):
        return argument.tobytes()
    assert type(argument) is int, f"{argument!r} would be passed with a width of its own"
    return argument.to_bytes(8, "little")


def assert_fitting(types: list[str], arguments: tuple[object, ...]) -> None:
    assert len(types) == len(arguments), (types, arguments)
    for kind, argument in zip(types, arguments, strict=True):
        assert type(argument) is (int if kind == "*" else C_TYPES[kind]), (kind, argument)


class ShimKernels:
    """Launches on the CPU and checks on the way that the arguments are what the signature says."""

    shared_limit = 64 * 1024

    def __init__(self, library: ctypes.CDLL, types: dict[str, list[str]]) -> None:
        self.library = library
        self.types = types
        self.seed = 1

    def launch(self, stream: object, launch: Launch) -> None:
        assert_fitting(self.types[launch.kernel], launch.arguments)
        cells = [ctypes.create_string_buffer(passed_bytes(argument), 8) for argument in launch.arguments]
        pointers = (ctypes.c_void_p * len(cells))(*(ctypes.addressof(cell) for cell in cells))
        grid, block = (ctypes.c_uint * 3)(*launch.grid), (ctypes.c_uint * 3)(*launch.block)
        self.seed += 1
        outcome = self.library.shim_launch(
            launch.kernel.encode(), grid, block, launch.shared, pointers, ctypes.c_uint64(self.seed * 2654435761)
        )
        assert outcome == 0, f"{launch.kernel}: {OUTCOMES[outcome]}"


class Machine:
    """Where kernels are launched."""

    def __init__(self, kernels: ShimKernels | LoadedKernels, stream: object) -> None:
        self.kernels, self.stream, self.shared_limit = kernels, stream, kernels.shared_limit

    def launch(self, launch: Launch, stream: object = None) -> None:
        self.kernels.launch(stream or self.stream, launch)


class ShimMachine(Machine):
    """Arrays in host memory between guards; the addresses are their own."""

    name = "shim"

    def __init__(self, kernels: ShimKernels) -> None:
        super().__init__(kernels, None)
        self._kept: dict[int, tuple[np.ndarray, int]] = {}

    def put(self, array: np.ndarray) -> int:
        memory = np.full(array.nbytes + 2 * GUARD + 16, GUARD_BYTE, dtype=np.uint8)
        start = GUARD + -(memory.ctypes.data + GUARD) % 16
        memory[start : start + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        address = memory.ctypes.data + start
        self._kept[address] = memory, array.nbytes
        return address

    def get(self, address: int, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        memory, size = self._kept[address]
        start = address - memory.ctypes.data
        return memory[start : start + size].copy().view(dtype).reshape(shape)

    def observed(self) -> np.ndarray:
        """The numbers that the last launch showed, one per block that got so far."""
        room = 1 << 16
        numbers = np.empty(room, dtype=np.int32)
        return numbers[: self.kernels.library.shim_observed(ctypes.c_void_p(numbers.ctypes.data), room)]

    def clear(self) -> None:
        for address, (memory, size) in self._kept.items():
            start = address - memory.ctypes.data
            assert (memory[:start] == GUARD_BYTE).all(), "written before an array"
            assert (memory[start + size :] == GUARD_BYTE).all(), "written behind an array"
        self._kept.clear()


class GpuMachine(Machine):
    """Arrays in device memory, through cuda.core."""

    name = "gpu"

    def __init__(self, device: object) -> None:
        super().__init__(LoadedKernels(device), device.create_stream())
        self.device = device
        self.driver = import_module("cuda.bindings.driver")
        self._kept: dict[int, object] = {}

    def put(self, array: np.ndarray) -> int:
        array = np.ascontiguousarray(array)
        buffer = self.device.allocate(max(array.nbytes, 1), stream=self.stream)
        address = int(buffer.handle)
        self._kept[address] = buffer
        # In the stream of the kernels, which does not wait for the default one, and from page-locked memory: copies of
        # ordinary memory may return before its bytes have arrived.
        staging = self._call("cuMemHostAlloc", buffer.size, 0)
        ctypes.memmove(int(staging), array.ctypes.data, array.nbytes)
        self._call("cuMemcpyAsync", address, int(staging), array.nbytes, self.stream.handle)
        self.stream.sync()
        self._call("cuMemFreeHost", int(staging))
        return address

    def get(self, address: int, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        self.stream.sync()
        array = np.empty(shape, dtype=dtype)
        self._call("cuMemcpyDtoH", array.ctypes.data, address, array.nbytes)
        return array

    def clear(self) -> None:
        self.stream.sync()
        for buffer in self._kept.values():
            buffer.close()
        self._kept.clear()

    def _call(self, name: str, *arguments: object) -> object:
        status, *values = getattr(self.driver, name)(*arguments)
        assert int(status) == 0, (name, status)
        return values[0] if values else None


def compile_for_cpu(folder: Path, sources: dict[Path, list[str]]) -> ctypes.CDLL:
    """Compile kernels, named by source file, with the system's C++ compiler; skip where there is none."""
    return ctypes.CDLL(str(BUILD["compile_kernels"](folder, sources)))


@pytest.fixture(scope="session")
def shim_kernels(tmp_path_factory: pytest.TempPathFactory) -> ShimKernels:
    types = {source: signatures(source) for source in SOURCES}
    library = compile_for_cpu(
        tmp_path_factory.mktemp("shim"), {KERNELS / f"{source}.cu": list(types[source]) for source in SOURCES}
    )
    return ShimKernels(library, {name: kinds for found in types.values() for name, kinds in found.items()})


@functools.cache
def gpu() -> tuple[object, str]:
    """The first CUDA device, or why there is none."""
    try:
        ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return None, "no CUDA driver on this computer"
    try:
        device = import_module("cuda.core").Device(0)
        device.set_current()
    except Exception as error:  # no package or no device: cuda.core's classes share no base
        return None, f"no CUDA device: {error}"
    return device, ""


@pytest.fixture(scope="session")
def gpu_machine() -> GpuMachine:
    device, reason = gpu()
    if device is None:
        pytest.skip(f"the kernels run on the CPU only: {reason}")
    return GpuMachine(device)


# Without a device only the CPU half exists; test_gpu.py then says once, visibly, what was left out and why.
@pytest.fixture(params=["shim", *([pytest.param("gpu", marks=pytest.mark.gpu)] if gpu()[0] else [])])
def machine(request: pytest.FixtureRequest) -> Iterator[ShimMachine | GpuMachine]:
    """Run the test once on the CPU and once on a GPU; the same comparisons, to the same bits."""
    if request.param == "gpu":
        found = request.getfixturevalue("gpu_machine")
    else:
        found = ShimMachine(request.getfixturevalue("shim_kernels"))
    yield found
    found.clear()


@pytest.fixture(scope="session")
def kernel_signatures() -> dict[str, dict[str, list[str]]]:
    """Parameter types of every kernel of every source file."""
    return {path.stem: signatures(path.stem) for path in sorted(KERNELS.glob("*.cu"))}


@pytest.fixture(scope="session")
def check_arguments() -> Callable[[list[str], tuple[object, ...]], None]:
    """Assert that arguments have the number, order and types of a kernel's parameters."""
    return assert_fitting
