"""Which GPU TensorRT works on: the one that is current in the calling thread."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ifseg_rt.errors import DeviceError
from ifseg_rt.machine import Machine, driver_library


@contextmanager
def current_gpu(machine: Machine, load: Callable[[str], Any] = ctypes.CDLL) -> Iterator[None]:
    """Make a machine's GPU the calling thread's for the block; the thread must not have chosen another one.

    Nothing is done for GPU 0, which is every thread's until it chooses, nor where there is none.

    Args:
        machine: the machine; its GPU is meant.
        load: opens a shared library by name, or raises ``OSError``.

    Raises:
        DeviceError: the driver refuses.
    """
    if machine.gpu is None or machine.gpu.index == 0:
        yield
        return
    index = machine.gpu.index
    try:
        cuda = load(driver_library())
    except OSError as error:
        raise DeviceError(f"choosing GPU {index} failed: {error}", hint="install the NVIDIA driver") from error
    device, context = ctypes.c_int(), ctypes.c_void_p()
    _check(cuda.cuDeviceGet(ctypes.byref(device), index), index)
    # The primary context is the one that the CUDA runtime inside TensorRT uses too.
    _check(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device), index)
    try:
        _check(cuda.cuCtxPushCurrent_v2(context), index)
        try:
            yield
        finally:
            cuda.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
    finally:
        cuda.cuDevicePrimaryCtxRelease_v2(device)


def _check(result: int, index: int) -> None:
    if result:
        raise DeviceError(f"choosing GPU {index} failed: the driver reports CUDA error {result}", hint="nvidia-smi")
