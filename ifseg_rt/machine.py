"""What this machine is: its platform and one of its GPUs, asked from the driver itself, or why there is none.

The CUDA driver library is the one thing every way of running needs, so it is asked directly: nothing has to be
installed for a clear answer, and nothing heavy is imported.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ifseg_rt.errors import DeviceError

_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76  # CUdevice_attribute
_NO_DEVICE = 100  # CUresult
_REASONS = {
    3: "the driver is shutting down",
    34: "only the CUDA stub library was found, not the driver's own",
    100: "the driver finds no GPU",
    101: "the driver refuses the GPU's number",
    802: "the GPU is not ready yet",
    803: "the driver's library and its kernel module have different versions",
    804: "the driver's compatibility library does not support this GPU",
    999: "the driver reports an unknown error",
}
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True)
class GpuFacts:
    """The GPU that engines run on.

    Attributes:
        name: the driver's name for it.
        compute_capability: ``"8.6"``.
        memory: bytes in all.
        cuda: newest CUDA version that the driver supports, ``"13.0"``.
        driver: the driver's own version, ``"580.65.06"``, or ``None`` where it does not tell (Jetson).
        index: its number, as CUDA counts the GPUs that ``CUDA_VISIBLE_DEVICES`` leaves.
    """

    name: str
    compute_capability: str
    memory: int
    cuda: str
    driver: str | None = None
    index: int = 0


@dataclass(frozen=True)
class Machine:
    """Platform and GPU; where ``gpu`` is ``None``, ``reason`` says why in a few words.

    Attributes:
        platform: ``"linux-x86_64"``, ``"linux-aarch64"``, ``"windows-x86_64"``.
        gpus: how many CUDA finds.
    """

    platform: str
    gpu: GpuFacts | None = None
    reason: str | None = None
    gpus: int = 0


@lru_cache(maxsize=16)
def this_machine(index: int = 0) -> Machine:
    """Facts of this machine and its GPU ``index``; the driver is asked once per process and GPU."""
    return describe_machine(ctypes.CDLL, index)


def describe_machine(load: Callable[[str], Any], index: int = 0) -> Machine:
    """Facts of this machine.

    Args:
        load: opens a shared library by name, or raises ``OSError``.
        index: the GPU that is meant.
    """
    here, library, count = this_platform(), driver_library(), 0
    try:
        cuda = load(library)
    except OSError:
        return Machine(here, None, f"the NVIDIA driver is not installed (its library {library} is missing)")
    try:
        count = _count(cuda)
        if index >= count:
            return Machine(here, None, f"there is no GPU {index}, CUDA counts {count} from 0", count)
        return Machine(here, _gpu(cuda, load, index), None, count)
    except _DriverError as error:
        return Machine(here, None, str(error), count)


def driver_library() -> str:
    """Name of the driver's own library."""
    return "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def this_platform() -> str:
    """Operating system and processor in one spelling everywhere."""
    machine = platform.machine().lower()
    return f"{platform.system().lower()}-{_MACHINES.get(machine, machine)}"


class _DriverError(Exception):
    """A call of the driver failed."""


def _count(cuda: Any) -> int:  # noqa: ANN401 - a ctypes library
    _check(cuda.cuInit(0))
    count = ctypes.c_int()
    _check(cuda.cuDeviceGetCount(ctypes.byref(count)))
    if count.value < 1:
        raise _DriverError(_reason(_NO_DEVICE))
    return count.value


def _gpu(cuda: Any, load: Callable[[str], Any], index: int) -> GpuFacts:  # noqa: ANN401
    device = ctypes.c_int()
    _check(cuda.cuDeviceGet(ctypes.byref(device), index))
    name = ctypes.create_string_buffer(256)
    _check(cuda.cuDeviceGetName(name, len(name), device))
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(cuda.cuDeviceGetAttribute(ctypes.byref(major), _CAPABILITY_MAJOR, device))
    _check(cuda.cuDeviceGetAttribute(ctypes.byref(minor), _CAPABILITY_MINOR, device))
    memory = ctypes.c_size_t()
    _check(cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device))
    version = ctypes.c_int()
    _check(cuda.cuDriverGetVersion(ctypes.byref(version)))
    return GpuFacts(
        name=name.value.decode(errors="replace"),
        compute_capability=f"{major.value}.{minor.value}",
        memory=memory.value,
        cuda=f"{version.value // 1000}.{version.value % 1000 // 10}",
        driver=_driver_version(load),
        index=index,
    )


def _driver_version(load: Callable[[str], Any]) -> str | None:
    """From NVIDIA's management library, which comes with desktop and server drivers."""
    try:
        management = load("nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1")
        if management.nvmlInit_v2() != 0:
            return None
        text = ctypes.create_string_buffer(80)
        failed = management.nvmlSystemGetDriverVersion(text, len(text))
        management.nvmlShutdown()
    except (OSError, AttributeError):
        return None
    return None if failed else text.value.decode(errors="replace")


def _check(result: int) -> None:
    if result:
        raise _DriverError(_reason(result))


def _reason(result: int) -> str:
    known = _REASONS.get(result, f"the driver reports CUDA error {result}")
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if result == _NO_DEVICE and hidden is not None:
        return f"{known} (CUDA_VISIBLE_DEVICES is {hidden!r})"
    return known


def require_gpu(kind: str, index: int | None) -> None:
    """Make sure that there is such a GPU where one was named and there are any.

    Where CUDA has none at all, whatever should have run on it says why.

    Args:
        kind: what shall run there, ``"cuda"`` or ``"tensorrt"``, for the message.
        index: number of the GPU as CUDA counts them; ``None`` where none was named.

    Raises:
        DeviceError: this machine has GPUs, but not that one.
    """
    if index is None:
        return
    count = this_machine(index).gpus
    if 0 < count <= index:
        expected = f"{kind}:0" + (f" to {kind}:{count - 1}" if count > 1 else "")
        raise DeviceError(
            f'there is no device "{kind}:{index}": expected {expected}, since CUDA finds {_gpus(count)} '
            "on this machine",
            hint=f"nvidia-smi -L lists the GPUs; {_visible()}",
        )


def _gpus(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"


def _visible() -> str:
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shown is None:
        return "CUDA_VISIBLE_DEVICES would hide and renumber them, and is not set"
    return f"CUDA_VISIBLE_DEVICES={shown} hides and renumbers them"
