"""What a user may ask of a builder, and what a flavour of TensorRT makes of it on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from ifseg_rt.errors import DeviceError, UsageError
from ifseg_rt.machine import Machine
from ifseg_rt.tensorrt.installed import TensorRt
from ifseg_rt.tensorrt.schema import HardwareLevel

ALL, CURRENT = "all", "current"
_MOST_WORKSPACE = 1 << 24  # MiB, which is 16 TiB


@dataclass(frozen=True)
class BuildSettings:
    """Wishes for an engine.

    Attributes:
        compute_capabilities: ``("current",)``, ``("all",)`` or numbers like ``("8.6", "8.9")``; empty for what the
            flavour does by itself: TensorRT-RTX all it supports, full TensorRT the GPU here.
        version_compatible: for later versions of full TensorRT as well.
        hardware_compatibility: for other GPUs of full TensorRT as well.
        workspace_mb: limit of scratch memory in MiB; ``None`` for all there is.
    """

    compute_capabilities: tuple[str, ...] = ()
    version_compatible: bool = False
    hardware_compatibility: HardwareLevel = "none"
    workspace_mb: int | None = None


def resolve_targets(settings: BuildSettings, tensorrt: TensorRt, machine: Machine) -> tuple[str, ...]:
    """The compute capabilities to build for; empty means all that TensorRT-RTX builds for by itself.

    Raises:
        UsageError: the wishes contradict each other or this flavour cannot fulfil them.
        DeviceError: a GPU is needed and there is none.
    """
    _check_settings(settings, tensorrt)
    wanted = settings.compute_capabilities
    if not tensorrt.builds_without_gpu:
        return _for_this_gpu(wanted, tensorrt, machine)
    if wanted in ((), (ALL,)):
        return ()
    targets = tuple(dict.fromkeys(_current(tensorrt, machine) if name == CURRENT else name for name in wanted))
    for target in targets:
        if target not in tensorrt.targets:
            raise UsageError(
                f"{tensorrt.title} does not build for compute capability {target}; it builds for "
                f"{', '.join(tensorrt.targets)}",
                hint="use full TensorRT on such a GPU: --runtime tensorrt",
            )
    return targets


def _check_settings(settings: BuildSettings, tensorrt: TensorRt) -> None:
    wanted = settings.compute_capabilities
    if ALL in wanted and len(wanted) > 1:
        raise UsageError(f"--compute-capability takes {ALL!r} alone, found {' '.join(wanted)}")
    for name in wanted:
        major, dot, minor = name.partition(".")
        if name not in (ALL, CURRENT) and not (dot and major.isdecimal() and minor.isdecimal()):
            raise UsageError(f"a compute capability looks like 8.6, or is {CURRENT!r} or {ALL!r}; found {name!r}")
    if settings.workspace_mb is not None and not 1 <= settings.workspace_mb <= _MOST_WORKSPACE:
        raise UsageError(f"the workspace must be at least 1 MB (to {_MOST_WORKSPACE}), found {settings.workspace_mb}")
    if settings.version_compatible and not tensorrt.has_version_compatibility:
        raise UsageError(
            f"{tensorrt.title} has no version-compatible engines: each release runs its own",
            hint="leave --version-compatible out, or use full TensorRT: --runtime tensorrt",
        )
    level = settings.hardware_compatibility
    if level != "none" and level not in tensorrt.hardware_levels:
        offered = ", ".join(tensorrt.hardware_levels) or "none"
        raise UsageError(
            f"{tensorrt.title} has no hardware compatibility {level!r} (it has: {offered})",
            hint="name the GPUs: --compute-capability 8.6 8.9" if tensorrt.builds_without_gpu else None,
        )


def _for_this_gpu(wanted: tuple[str, ...], tensorrt: TensorRt, machine: Machine) -> tuple[str, ...]:
    if ALL in wanted:
        raise UsageError(
            f"{tensorrt.title} builds for the GPU it runs on, not for all",
            hint="--hardware-compatible makes an engine for Ampere and later GPUs; --runtime tensorrt_rtx for all RTX",
        )
    here = _current(tensorrt, machine)
    others = [name for name in wanted if name not in (CURRENT, here)]
    if others:
        raise UsageError(
            f"{tensorrt.title} builds for the GPU it runs on (compute capability {here}), not for {', '.join(others)}",
            hint="build it on such a machine, or see --hardware-compatible",
        )
    return (here,)


def _current(tensorrt: TensorRt, machine: Machine) -> str:
    if machine.gpu is None:
        hint = (
            f"name the target: --compute-capability {tensorrt.targets[-1]}"
            if tensorrt.builds_without_gpu
            else ("build it on the machine that it is for, or without a GPU: --runtime tensorrt_rtx")
        )
        raise DeviceError(
            f"{tensorrt.title} needs an NVIDIA GPU to build for it, and this machine has none that works: "
            f"{machine.reason}",
            hint=hint,
        )
    return machine.gpu.compute_capability
