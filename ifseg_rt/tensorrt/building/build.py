"""From an exported ONNX model to the bytes of an engine.

The network is strongly typed: every type comes from the graph, so nothing here sets a precision. The refinement stays
out of the engine; left in, its 25 gather rounds keep the builder busy without end.
"""

from __future__ import annotations

import platform
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ifseg_rt.artifact.content import ModelContent
from ifseg_rt.artifact.schema import PROBABILITIES, Artifact, TensorSpec
from ifseg_rt.cache import usable_folder
from ifseg_rt.errors import DeviceError, ExportError
from ifseg_rt.machine import Machine, this_machine
from ifseg_rt.tensorrt.building.current_gpu import current_gpu
from ifseg_rt.tensorrt.building.progress import BuildProgress, SilentProgress, make_monitor
from ifseg_rt.tensorrt.building.settings import BuildSettings, resolve_targets
from ifseg_rt.tensorrt.building.timing_cache import cache_file, load_timings, store_timings
from ifseg_rt.tensorrt.installed import TensorRt
from ifseg_rt.tensorrt.logger import Messages, make_logger
from ifseg_rt.tensorrt.schema import EngineBuild, engine_outputs
from ifseg_rt.version import installed_version

_T = TypeVar("_T")
_TURING_GEMM = "FP32 GEMM is not supported"
_POLL = 0.1  # seconds between looks at a running build; Ctrl-C is noticed then


@dataclass(frozen=True)
class BuiltEngine:
    """An engine not written yet: its bytes, and how it was built."""

    data: memoryview
    build: EngineBuild


def build_engine(
    onnx_path: Path,
    model: Artifact,
    settings: BuildSettings,
    tensorrt: TensorRt,
    *,
    machine: Machine | None = None,
    progress: BuildProgress | None = None,
    timings: Path | None = None,
    content: ModelContent | None = None,
) -> BuiltEngine:
    """Builds an engine.

    Args:
        onnx_path: the model; data files beside it are found by the parser.
        model: its verified sidecar.
        settings: what is wished.
        tensorrt: the one that builds.
        machine: facts of this machine; ``None`` to find them out.
        progress: told of the builder's phases, from its own threads.
        timings: folder of the timing cache; ``None`` for the user's.
        content: the model's verified bytes; ``None`` lets the parser read the file.

    Raises:
        UsageError: the wishes do not fit the flavour.
        DeviceError: a GPU is needed and missing, or the builder does not start.
        ExportError: an operator is not accepted or the builder fails; TensorRT's own first words are quoted.
        KeyboardInterrupt: interrupted; the builder was stopped.
    """
    machine = machine or this_machine()
    targets = resolve_targets(settings, tensorrt, machine)
    started = time.perf_counter()
    messages, cancelled = Messages(), threading.Event()

    def work() -> memoryview:
        builder, network, _alive = _parse(onnx_path, model, tensorrt, messages, content)
        config = builder.create_builder_config()
        _configure(config, settings, targets, tensorrt)
        if model.smallest_batch is not None:
            _add_profile(builder, config, model, model.smallest_batch)
        stored = None
        if tensorrt.keeps_timings and machine.gpu is not None:
            stored = cache_file(timings or usable_folder("timing"), tensorrt, machine.gpu)
            load_timings(config, stored)
        monitor = make_monitor(tensorrt.module, progress or SilentProgress(), cancelled)
        config.progress_monitor = monitor
        messages.errors.clear()  # what went wrong before, a stale timing cache say, did not stop anything
        serialised = builder.build_serialized_network(network, config)
        if serialised is None:
            raise _failure(tensorrt, onnx_path, settings, messages)
        if stored is not None:
            store_timings(config, stored)
        return memoryview(serialised)

    def work_on_its_gpu() -> memoryview:
        with current_gpu(machine):  # of this thread, which is the builder's own
            return work()

    data = _interruptible(work_on_its_gpu, cancelled)
    gpu = machine.gpu
    build = EngineBuild(
        runtime=tensorrt.name,
        version=tensorrt.version,
        platform=machine.platform,
        compute_capabilities=targets,
        version_compatible=settings.version_compatible,
        hardware_compatibility=settings.hardware_compatibility,
        device=gpu.name if gpu else None,
        driver=gpu.driver if gpu else None,
        driver_cuda=gpu.cuda if gpu else None,
        cuda=tensorrt.cuda,
        workspace_mb=settings.workspace_mb,
        device_memory=messages.device_memory,
        seconds=round(time.perf_counter() - started, 2),
        tools={"ifseg-rt": installed_version(), "python": platform.python_version()},
    )
    return BuiltEngine(data, build)


def _parse(
    onnx_path: Path, model: Artifact, tensorrt: TensorRt, messages: Messages, content: ModelContent | None
) -> tuple[Any, Any, list[Any]]:
    """Builder, network, and what has to live as long as they do."""
    trt = tensorrt.module
    logger = make_logger(trt, messages)
    try:
        builder = trt.Builder(logger)
    except (TypeError, RuntimeError) as error:  # what the bindings raise for a null pointer
        raise DeviceError(f"the builder of {tensorrt.title} does not start: {messages.first_error}") from error
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if content is None:
        parsed = parser.parse_from_file(str(onnx_path))
    else:
        parsed = parser.parse(content.graph, str(onnx_path))
        content.require_unchanged()
    if not parsed:
        raise ExportError(
            f"{tensorrt.title} does not accept {onnx_path.name}: {_parser_words(parser, messages)}",
            hint="export it again with this version of ifseg-rt, or build with a newer TensorRT",
        )
    for index in range(network.num_outputs):
        tensor = network.get_output(index)
        if tensor.name == PROBABILITIES:
            network.unmark_output(tensor)
            break
    _check_tensors("input", [network.get_input(i) for i in range(network.num_inputs)], model.inputs, trt, onnx_path)
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    _check_tensors("output", outputs, engine_outputs(model), trt, onnx_path)
    return builder, network, [logger, parser]


def _parser_words(parser: Any, messages: Messages) -> str:  # noqa: ANN401 - an OnnxParser
    """Operator, node and complaint of the first error."""
    if parser.num_errors < 1:
        return messages.first_error
    error = parser.get_error(0)
    operator, node = error.node_operator(), error.node_name()
    place = f"operator {operator}, node {node!r}: " if operator or node else ""
    more = f" (and {parser.num_errors - 1} more)" if parser.num_errors > 1 else ""
    return place + " ".join(str(error.desc()).split()) + more


def _check_tensors(role: str, found: list[Any], expected: tuple[TensorSpec, ...], trt: Any, onnx_path: Path) -> None:  # noqa: ANN401
    types = {"float32": trt.float32, "int32": trt.int32}
    have = {tensor.name: tensor for tensor in found}
    for spec in expected:
        tensor = have.pop(spec.name, None)
        wanted = f"{role} {spec.name!r} {spec.dtype} {list(spec.shape)}"
        if tensor is None:
            raise ExportError(f"{onnx_path.name} does not fit its sidecar: the parsed network has no {wanted}")
        if tensor.dtype != types[spec.dtype] or tuple(tensor.shape) != spec.shape:
            kind = getattr(tensor.dtype, "name", tensor.dtype)
            raise ExportError(
                f"{onnx_path.name} does not fit its sidecar: expected {wanted}, the parsed network has "
                f"{kind} {list(tensor.shape)}"
            )
    if have:
        raise ExportError(f"{onnx_path.name} does not fit its sidecar: unexpected {role} {', '.join(sorted(have))}")


def _configure(config: Any, settings: BuildSettings, targets: tuple[str, ...], tensorrt: TensorRt) -> None:  # noqa: ANN401
    trt = tensorrt.module
    # float32 in the graph means float32. The tensor cores' TF32 has the 10 bits of fp16, in which the similarities of
    # the most similar patches would tie; speed comes from the fp16 parts of the graph.
    if hasattr(trt.BuilderFlag, "TF32"):
        config.clear_flag(trt.BuilderFlag.TF32)
    # Only TensorRT-RTX has it: without it, it may allocate while running, and a CUDA graph of whole frames is lost.
    if hasattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION"):
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    if settings.workspace_mb is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace_mb << 20)
    if settings.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if settings.hardware_compatibility != "none":
        level = settings.hardware_compatibility.upper()
        config.hardware_compatibility_level = getattr(trt.HardwareCompatibilityLevel, level)
    if tensorrt.builds_without_gpu and targets:
        config.num_compute_capabilities = len(targets)
        for index, target in enumerate(targets):
            capability = getattr(trt.ComputeCapability, "SM" + target.replace(".", ""))
            if not config.set_compute_capability(capability, index):
                raise ExportError(f"{tensorrt.title} refuses compute capability {target}")


def _add_profile(builder: Any, config: Any, model: Artifact, smallest: int) -> None:  # noqa: ANN401
    """Any number of pictures of the model's range, fastest at the largest."""
    profile = builder.create_optimization_profile()
    for spec in model.inputs:
        least, most = ((count, *spec.shape[1:]) for count in (smallest, model.batch))
        profile.set_shape(spec.name, least, most, most)
    if config.add_optimization_profile(profile) < 0:
        raise ExportError(f"the builder refuses batches of {smallest} to {model.batch} pictures")


def _failure(tensorrt: TensorRt, onnx_path: Path, settings: BuildSettings, messages: Messages) -> ExportError:
    words = messages.first_error
    hint = "run it again with --debug for everything TensorRT said"
    if any("OutOfMemory" in line or "out of memory" in line.lower() for line in messages.errors):
        limit = f" (now {settings.workspace_mb})" if settings.workspace_mb is not None else ""
        hint = f"give it more scratch memory: --workspace MB{limit}, or a smaller --size"
    if any(_TURING_GEMM in line for line in messages.errors):
        words = (
            "compute capability 7.5 (Turing) was asked for, where it multiplies matrices in fp16 only; the "
            "similarities of the patches and the product with the categories are float32 in every precision"
        )
        hint = "leave 7.5 out; on a Turing GPU use full TensorRT (--runtime tensorrt), or the ONNX model with CUDA"
    return ExportError(f"{tensorrt.title} could not build an engine from {onnx_path.name}: {words}", hint=hint)


def _interruptible(work: Callable[[], _T], cancelled: threading.Event) -> _T:
    """Runs ``work`` in a thread of its own.

    The builder is one long call. A signal that arrives during it would be seen after it in the same thread, and an
    exception raised inside the builder's callbacks would end the process.
    """
    done: list[_T] = []
    failed: list[BaseException] = []

    finished = threading.Event()

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:
            _let_go(error)
            failed.append(error)
        finally:
            finished.set()

    thread = threading.Thread(target=run, name="tensorrt-build", daemon=True)
    try:
        thread.start()
        # Not by join(): interrupted, it takes the thread for ended (Python 3.11), and leaving it would end in a crash.
        while not finished.wait(_POLL):
            pass
    except BaseException:
        cancelled.set()
        _outlast(finished)
        raise
    thread.join()
    if failed:
        raise failed[0]
    return done[0]


def _outlast(finished: threading.Event) -> None:
    """Waits for a builder that was told to stop; being interrupted again does not make it stop any faster."""
    while not finished.is_set():
        with suppress(KeyboardInterrupt):
            finished.wait()


def _let_go(error: BaseException | None) -> None:
    """Frees the builder's objects here and now, which the frames of a failure would keep.

    Left to the garbage collector they would go at any time, in any thread; while another build runs, their destructor
    waits for TensorRT's lock with Python's lock in hand, and that build's logger the other way round.
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
