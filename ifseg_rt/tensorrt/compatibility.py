"""Does an engine fit this machine? Decided before it is deserialised, with both sides of every mismatch in words.

Rules: an engine of TensorRT-RTX runs on one release of it, on the GPUs it was built for, on Windows and Linux alike.
One of full TensorRT runs on one version, platform and compute capability, unless it was built to be compatible with
later versions (of the same major number, and one of TensorRT 10 on 11) or with other GPUs.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ifseg_rt.errors import ArtifactError, DeviceError
from ifseg_rt.machine import GpuFacts, Machine
from ifseg_rt.tensorrt.installed import TensorRt, release, title_of
from ifseg_rt.tensorrt.schema import EngineArtifact, EngineBuild
from ifseg_rt.tensorrt.sidecar import rebuild_hint

# By default TensorRT-RTX builds for Ampere and later; Turing (7.5) only when it is named.
_OLDEST_PORTABLE = (8, 0)
_OLDEST_AMPERE = (8, 0)
# ONNX Runtime has no bfloat16 convolution there.
_NOT_ON_CPU = frozenset({"bf16"})


def require_gpu(path: Path, machine: Machine, *, precision: str | None = None) -> GpuFacts:
    """The GPU that an engine runs on.

    Args:
        path: the engine, for messages.
        machine: facts of this machine.
        precision: of the engine's graph, where it is known.

    Raises:
        DeviceError: there is none; the hint names what runs on the CPU.
    """
    if machine.gpu is not None:
        return machine.gpu
    twin = path.with_suffix(".onnx")
    hint = f"{twin if twin.is_file() else 'the ONNX model it was built from'} runs on the CPU"
    if precision in _NOT_ON_CPU:
        hint = f"a {precision} model runs on GPUs only; make one for the CPU: python -m export.to_onnx ckpt.pt"
    raise DeviceError(
        f"{path.name} needs an NVIDIA GPU, and this machine has none that works: {machine.reason}", hint=hint
    )


def check(path: Path, engine: EngineArtifact, tensorrt: TensorRt, machine: Machine) -> None:
    """Refuses an engine that does not fit, every mismatch named.

    Args:
        path: the engine, for messages.
        engine: its verified sidecar.
        tensorrt: the one that would run it.
        machine: where it would run.

    Raises:
        DeviceError: there is no GPU.
        ArtifactError: it was built for something else; the hint says how to build it again.
    """
    gpu = require_gpu(path, machine, precision=engine.model.precision)
    found = mismatches(engine, tensorrt, machine, gpu)
    if not found:
        return
    lines = found[0] if len(found) == 1 else "".join(f"\n  - {line}" for line in found)
    raise ArtifactError(f"{path.name} does not fit this machine: {lines}", hint=rebuild_hint(path))


def mismatches(engine: EngineArtifact, tensorrt: TensorRt, machine: Machine, gpu: GpuFacts) -> list[str]:
    """Everything about which an engine and a machine disagree, one line each, both sides named."""
    build = engine.build
    return [
        *_runtime(build, tensorrt),
        *_platform(build, machine),
        *_capability(build, gpu),
        *_cuda(build, gpu),
        *_memory(engine, gpu),
    ]


def _runtime(build: EngineBuild, tensorrt: TensorRt) -> Iterator[str]:
    built_with = f"{title_of(build.runtime)} {build.version}"
    if build.runtime != tensorrt.name:
        yield f"built with {built_with}, here is {tensorrt.title}"
        return
    if build.version == tensorrt.version:
        return
    if not build.version_compatible:
        yield f"built with {built_with}, here is {tensorrt.title}; an engine runs on the very version that built it"
        return
    then, now = release(build.version), release(tensorrt.version)
    # Across major versions only 10 on 11 (and 8 on 10) is supported.
    if now < then or (now[0] != then[0] and (then[0], now[0]) != (10, 11)):
        later = f"later versions of {then[0]}" + (" and 11" if then[0] == 10 else "")
        yield f"built with {built_with} for itself and {later}, here is {tensorrt.title}"


def _platform(build: EngineBuild, machine: Machine) -> Iterator[str]:
    here, there = machine.platform, build.platform
    if build.runtime == "tensorrt_rtx":
        # One engine for Windows and Linux; the processor still has to be the same kind.
        here, there = here.rpartition("-")[2], there.rpartition("-")[2]
    if here != there:
        yield f"built on {build.platform}, this is {machine.platform}"


def _capability(build: EngineBuild, gpu: GpuFacts) -> Iterator[str]:
    here = gpu.compute_capability
    this_gpu = f"{gpu.name} has {here}"
    targets = build.compute_capabilities
    if not targets:
        if release(here) < _OLDEST_PORTABLE:
            yield f"built for compute capability 8.0 and later, {this_gpu}"
        return
    if here in targets and build.hardware_compatibility in ("none", "same_compute_capability"):
        return
    if build.hardware_compatibility == "ampere_plus":
        if release(here) < _OLDEST_AMPERE:
            yield f"built for Ampere and later GPUs (compute capability 8.0 and up), {this_gpu}"
        return
    names = f" ({build.device})" if build.device else ""
    yield f"built for compute capability {', '.join(targets)}{names}, {this_gpu}"


def _cuda(build: EngineBuild, gpu: GpuFacts) -> Iterator[str]:
    """A driver runs programs of its own major CUDA version and of older ones."""
    if build.cuda is None or not release(build.cuda):
        return
    if release(gpu.cuda)[:1] < release(build.cuda)[:1]:
        driver = f"driver {gpu.driver}" if gpu.driver else "the driver here"
        yield f"built for CUDA {build.cuda}, {driver} supports CUDA up to {gpu.cuda} (a newer driver would do)"


def _memory(engine: EngineArtifact, gpu: GpuFacts) -> Iterator[str]:
    needed = engine.engine.bytes + (engine.build.device_memory or 0)
    if needed > gpu.memory:
        yield f"takes about {needed / 2**20:.0f} MiB of GPU memory, {gpu.name} has {gpu.memory / 2**20:.0f} MiB"
