"""From an engine file to an engine on the GPU: everything that can be known beforehand is checked beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ifseg_rt.artifact.content import read_bytes
from ifseg_rt.errors import ArtifactError, DeviceError
from ifseg_rt.machine import Machine, this_machine
from ifseg_rt.tensorrt.compatibility import check, require_gpu
from ifseg_rt.tensorrt.installed import TensorRt, find_tensorrt, title_of
from ifseg_rt.tensorrt.logger import Messages, make_logger
from ifseg_rt.tensorrt.schema import EngineArtifact
from ifseg_rt.tensorrt.sidecar import read_engine, rebuild_hint

_DEFAULT_HEADER = 64
# EngineInvalidityDiagnostics of TensorRT-RTX, in words.
_DIAGNOSES = (
    ("VERSION_MISMATCH", "it is of another TensorRT-RTX version"),
    ("UNSUPPORTED_CC", "it was not built for the compute capability of this GPU"),
    ("OLD_CUDA_DRIVER", "the CUDA driver is too old for it"),
    ("OLD_CUDA_RUNTIME", "the CUDA runtime is too old for it"),
    ("INSUFFICIENT_GPU_MEMORY", "the GPU has too little free memory"),
    ("MALFORMED_ENGINE", "it is damaged"),
    ("CUDA_ERROR", "CUDA itself does not work"),
)


@dataclass(frozen=True)
class CheckedEngine:
    """An engine that fits this machine as far as can be known without loading it."""

    path: Path
    artifact: EngineArtifact
    tensorrt: TensorRt
    machine: Machine


@dataclass(frozen=True)
class LoadedEngine:
    """An engine on the GPU, with what has to live as long as it does.

    Attributes:
        engine: the ``ICudaEngine``; may be shared by any number of contexts.
        runtime: the ``IRuntime`` that made it.
        logger: the ``ILogger`` of both.
        messages: what TensorRT said; contexts add to it.
    """

    engine: Any
    runtime: Any
    logger: Any
    messages: Messages


def check_engine(path: str | Path, *, machine: Machine | None = None) -> CheckedEngine:
    """Everything before deserialising: sidecar, file, GPU, TensorRT, and whether they fit each other.

    Raises:
        ArtifactError: engine or sidecar is missing, damaged or foreign, or the engine is for another machine.
        DeviceError: there is no GPU, or the TensorRT that the engine is for is not usable here.
    """
    path = Path(path)
    artifact = read_engine(path)
    machine = machine or this_machine()
    require_gpu(path, machine, precision=artifact.model.precision)
    try:
        tensorrt = find_tensorrt(artifact.build.runtime, machine=machine)
    except DeviceError as error:
        built_with = f"{title_of(artifact.build.runtime)} {artifact.build.version}"
        raise DeviceError(
            f"{path.name} was built with {built_with}: {error}", hint=f"{error.hint}; or {rebuild_hint(path)}"
        ) from error
    check(path, artifact, tensorrt, machine)
    return CheckedEngine(path, artifact, tensorrt, machine)


def load_engine(checked: CheckedEngine, *, allow_host_code: bool = False) -> LoadedEngine:
    """Puts a checked engine on the GPU: the very bytes that its sidecar's hash is of.

    Args:
        checked: the checked file.
        allow_host_code: let an engine that carries code for the CPU run it. Such code can do whatever the user can, and
            a sidecar only shows that nothing was damaged, since anyone can seal one: the user decides, not the file.

    Raises:
        ArtifactError: the engine carries code for the CPU and that is not allowed, the file was changed since it was
            checked, or TensorRT finds it unfit in spite of all checks.
        DeviceError: the runtime does not start, or the GPU fails.
    """
    trt, title = checked.tensorrt.module, checked.tensorrt.title
    if checked.artifact.build.version_compatible and not allow_host_code:
        raise ArtifactError(
            f"{checked.path.name} is version-compatible: it carries code for the CPU, which runs with all that you may "
            "do here, and that was not allowed",
            hint="if you trust who made it: --allow-host-code (Segmenter(..., allow_host_code=True)); or "
            + rebuild_hint(checked.path),
        )
    messages = Messages()
    logger = make_logger(trt, messages)
    try:
        runtime = trt.Runtime(logger)
    except (TypeError, RuntimeError) as error:  # what the bindings raise for a null pointer
        raise DeviceError(f"the runtime of {title} does not start: {messages.first_error}") from error
    try:
        data, _, difference = read_bytes(checked.path, checked.artifact.engine)
    except OSError as error:
        raise ArtifactError(f"cannot read {checked.path}: {error.strerror}") from error
    if difference is not None:
        raise ArtifactError(f"{checked.path} was changed while it was being opened: {difference}", hint="open it again")
    _ask_validity(trt, runtime, data, checked, messages)
    if allow_host_code:
        runtime.engine_host_code_allowed = True
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        raise DeviceError(
            f"{title} cannot load {checked.path.name}: {messages.first_error}", hint=rebuild_hint(checked.path)
        )
    return LoadedEngine(engine, runtime, logger, messages)


def _ask_validity(trt: Any, runtime: Any, data: bytes, checked: CheckedEngine, messages: Messages) -> None:  # noqa: ANN401
    """TensorRT-RTX can tell from an engine's header whether it will run; full TensorRT has no such question."""
    if not hasattr(runtime, "get_engine_validity"):
        return
    header = data[: getattr(runtime, "engine_header_size", _DEFAULT_HEADER)]
    validity, diagnostics = runtime.get_engine_validity(header)
    if validity != trt.EngineValidity.INVALID:
        return
    bits = int(diagnostics)
    kinds = trt.EngineInvalidityDiagnostics
    reasons = [words for name, words in _DIAGNOSES if hasattr(kinds, name) and bits & int(getattr(kinds, name))]
    detail = "; ".join(reasons) or messages.first_error
    words = f"{checked.tensorrt.title} refuses {checked.path.name}: {detail}"
    if not reasons or bits & int(getattr(kinds, "CUDA_ERROR", 0)):
        raise DeviceError(words, hint="check the driver (nvidia-smi)")
    raise ArtifactError(words, hint=rebuild_hint(checked.path))
