"""Which TensorRT is installed, and the few things in which its flavours differ.

Full TensorRT builds for the GPU it runs on and needs it to build. TensorRT-RTX builds ahead of time, without any GPU,
for the ones it is told or for all it supports, and finishes the compilation where the engine runs.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from typing import Any, Literal, get_args

from ifseg_rt.errors import DeviceError, UsageError
from ifseg_rt.machine import Machine, this_machine

RuntimeName = Literal["tensorrt", "tensorrt_rtx"]
RUNTIMES: tuple[RuntimeName, ...] = get_args(RuntimeName)
WANTED = ("auto", *RUNTIMES)

_TITLES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}
# Before 10.3 (JetPack 6.1) strongly typed networks lack operators that the exported graphs use.
_OLDEST = {"tensorrt": (10, 3), "tensorrt_rtx": (1, 2)}
_INSTALL = {
    "tensorrt": "pip install tensorrt; on a Jetson it comes with JetPack (apt install python3-libnvinfer) and a "
    "virtual environment sees it with --system-site-packages",
    "tensorrt_rtx": "pip install tensorrt-rtx-cu13",
}
# Wheels are named after the CUDA version that they are built with.
_CUDA_OF_WHEELS = (13, 12)


@dataclass(frozen=True)
class TensorRt:
    """One installed TensorRT.

    Attributes:
        name: ``"tensorrt"`` or ``"tensorrt_rtx"``.
        module: the imported module; its classes have the same names in both flavours.
        version: as the module says it, e.g. ``"10.3.0"`` or ``"1.7.1.116"``.
    """

    name: RuntimeName
    module: Any
    version: str

    @property
    def title(self) -> str:
        """Name and version for messages."""
        return f"{_TITLES[self.name]} {self.version}"

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """Compute capabilities (``"8.6"``) it can build for by name; empty where it only builds for the GPU here."""
        if not hasattr(self.module.IBuilderConfig, "set_compute_capability"):
            return ()
        numbers = [_number_after("SM", name) for name in dir(self.module.ComputeCapability)]
        return tuple(f"{number // 10}.{number % 10}" for number in sorted(n for n in numbers if n is not None))

    @property
    def builds_without_gpu(self) -> bool:
        """Whether an engine can be built where there is no GPU."""
        return bool(self.targets)

    @property
    def keeps_timings(self) -> bool:
        """Whether a builder's timing cache saves time; TensorRT-RTX ignores one, but asks for a GPU to read it."""
        return not self.targets

    @property
    def hardware_levels(self) -> tuple[str, ...]:
        """Names of the hardware compatibility levels it really has, as in the sidecar."""
        if self.targets:
            return ()  # the names exist, the builder says "unsupported in TensorRT-RTX"
        level = getattr(self.module, "HardwareCompatibilityLevel", None)
        return tuple(name for name in ("ampere_plus", "same_compute_capability") if hasattr(level, name.upper()))

    @property
    def has_version_compatibility(self) -> bool:
        """Whether engines for later versions can be built; TensorRT-RTX engines are bound to one release."""
        return not self.targets

    @cached_property
    def cuda(self) -> str | None:
        """Major CUDA version of the installed wheels, or ``None`` where it did not come as one."""
        for major in _CUDA_OF_WHEELS:
            for name in (f"{self.name}_cu{major}", f"{self.name}_cu{major}_bindings"):
                try:
                    metadata.version(name)
                except metadata.PackageNotFoundError:
                    continue
                return str(major)
        return None


def find_tensorrt(
    wanted: str = "auto",
    *,
    machine: Machine | None = None,
    load: Callable[[str], Any] = importlib.import_module,
) -> TensorRt:
    """The TensorRT to use.

    Args:
        wanted: ``"auto"`` takes full TensorRT where it is installed and a GPU works, else TensorRT-RTX.
        machine: facts for ``"auto"``; ``None`` looks at this machine.
        load: imports a module by name.

    Raises:
        UsageError: ``wanted`` is no flavour.
        DeviceError: none is installed, or it does not load, or it is too old; the hint says what to install.
    """
    if wanted not in WANTED:
        raise UsageError(f"the runtime must be one of {', '.join(WANTED)}, found {wanted!r}")
    if wanted != "auto":
        found = _load(wanted, load)
        if isinstance(found, str):
            raise DeviceError(f"{_TITLES[wanted]} is not usable here: {found}", hint=_INSTALL[wanted])
        return found
    machine = machine or this_machine()
    full = _load("tensorrt", load)
    if isinstance(full, TensorRt) and machine.gpu is not None:
        return full
    rtx = _load("tensorrt_rtx", load)
    if isinstance(rtx, TensorRt):
        return rtx
    if isinstance(full, TensorRt):
        raise DeviceError(
            f"{full.title} needs an NVIDIA GPU, and this machine has none that works: {machine.reason}",
            hint=f"TensorRT-RTX builds without a GPU: {_INSTALL['tensorrt_rtx']}",
        )
    raise DeviceError(
        f"no TensorRT is usable here: tensorrt: {full}; tensorrt_rtx: {rtx}",
        hint=f"{_INSTALL['tensorrt_rtx']} (GeForce and RTX GPUs, builds without a GPU), or {_INSTALL['tensorrt']}",
    )


def _load(name: str, load: Callable[[str], Any]) -> TensorRt | str:
    """The flavour, or why it is not usable in one line."""
    try:
        module = load(name)
        version = str(module.__version__)
        module.Builder  # noqa: B018 - a namespace package of that name has no content
    except Exception as error:  # a missing shared library raises whatever its loader likes
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return lines[0] if lines else type(error).__name__
    oldest = _OLDEST[name]
    if release(version)[:2] < oldest:
        return f"version {version} is too old, expected {oldest[0]}.{oldest[1]} or later"
    tensorrt: RuntimeName = "tensorrt" if name == "tensorrt" else "tensorrt_rtx"
    return TensorRt(tensorrt, module, version)


def release(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: ``"10.3.0.post1"`` -> ``(10, 3, 0)``."""
    numbers = []
    for part in version.split("."):
        if not part.isdecimal():
            break
        numbers.append(int(part))
    return tuple(numbers)


def title_of(name: str) -> str:
    """A flavour's name for messages."""
    return _TITLES.get(name, name)


def _number_after(prefix: str, name: str) -> int | None:
    digits = name[len(prefix) :]
    return int(digits) if name.startswith(prefix) and digits.isdecimal() else None
