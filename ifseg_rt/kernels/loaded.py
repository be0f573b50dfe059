"""The kernels loaded on a GPU, and how one is launched: nothing here allocates device memory or waits."""

from __future__ import annotations

import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ifseg_rt.errors import DeviceError
from ifseg_rt.kernels.compile import SOURCES, cuda_core, load
from ifseg_rt.kernels.launches import DEFAULT_SHARED_LIMIT, Launch

if TYPE_CHECKING:
    from types import ModuleType

# Machine code by GPU and source file, one for the whole process: cuda.core never unloads it (that crashed some programs
# at their end), so every further copy would stay in the GPU's memory for good.
_LOADED: dict[tuple[int, str], Any] = {}
_LOADING = threading.Lock()


class LoadedKernels:
    """Every kernel, compiled and loaded for one device. Several threads may launch, each on its own stream.

    All loading happens here, because loading a module is not allowed while a stream is being captured into a graph; and
    drivers load lazily, machine code reaches the GPU at a kernel's first launch, unless they are told otherwise.

    Args:
        device: a ``cuda.core.Device``; made current for the calling thread.

    Attributes:
        shared_limit: bytes of shared memory a block of this device may have when it asks.

    Raises:
        DeviceError: cuda.core or NVRTC is missing, or a kernel does not compile or load for this device.
    """

    def __init__(self, device: Any) -> None:  # noqa: ANN401
        self._core: ModuleType = cuda_core()
        self._device = device
        device.set_current()
        self.shared_limit = int(device.properties.max_shared_memory_per_block_optin)
        capability = device.compute_capability
        self._kernels: dict[str, Any] = {}
        with _LOADING:
            for source, names in SOURCES.items():
                key = int(device.device_id), source
                if key not in _LOADED:
                    _LOADED[key] = load(source, (capability.major, capability.minor))
                for name in names:
                    self._kernels[name] = _LOADED[key].get_kernel(name)
                    if name.startswith("refine"):
                        self._allow_shared_memory(name)
                    self._load_now(name)

    def launch(self, stream: Any, launch: Launch) -> None:  # noqa: ANN401
        """Enqueue one kernel on a ``cuda.core.Stream`` or a graph builder; it may be recorded into a CUDA graph."""
        config = self._core.LaunchConfig(grid=launch.grid, block=launch.block, shmem_size=launch.shared)
        self._core.launch(stream, config, self._kernels[launch.kernel], *launch.arguments)

    def _allow_shared_memory(self, name: str) -> None:
        # cuda.core only reads this attribute; a block needs it set to get more than 48 KB of dynamic shared memory.
        if self.shared_limit <= DEFAULT_SHARED_LIMIT:
            return
        driver = import_module("cuda.bindings.driver")
        attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        (status,) = driver.cuKernelSetAttribute(
            attribute, self.shared_limit, self._kernels[name].handle, self._device.device_id
        )
        if int(status) != 0:
            raise DeviceError(f"kernel {name} cannot have {self.shared_limit} bytes of shared memory: {status!s}")

    def _load_now(self, name: str) -> None:
        driver = import_module("cuda.bindings.driver")
        status, function = driver.cuKernelGetFunction(self._kernels[name].handle)
        if int(status) == 0:
            try:
                (status,) = driver.cuFuncLoad(function)
            except (AttributeError, RuntimeError):  # bindings or driver before CUDA 12.4
                return
        if int(status) != 0:
            raise DeviceError(f"kernel {name} cannot be loaded: {status!s}")
