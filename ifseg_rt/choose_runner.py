"""Chooses how a model is run: which run time, on the GPU throughout or around the host. Every fallback says why."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ifseg_rt.errors import DeviceError, UsageError
from ifseg_rt.host.runner import HostRunner

if TYPE_CHECKING:
    from ifseg_rt.gpu.device import Gpu
    from ifseg_rt.gpu.network import GpuNetwork
    from ifseg_rt.gpu.runner import GpuRunner
    from ifseg_rt.model_file import ModelFile
    from ifseg_rt.options import Averaging, RunOptions
    from ifseg_rt.runner import Runner

_LOG = logging.getLogger(__name__)


def open_runner(model: ModelFile, averaging: Averaging, options: RunOptions) -> Runner:
    """Load a model the best way that works here.

    An engine runs on the GPU or not at all. An ``.onnx`` model runs with ONNX Runtime: on the GPU throughout where its
    CUDA provider and our kernels work; on the GPU between host arrays where only the provider does; else on the CPU.

    Raises:
        UsageError: the device asked for cannot run such a file.
        ArtifactError: the model does not fit its sidecar.
        DeviceError: what was asked for does not work here.
    """
    if model.engine is not None:
        return _open_engine(model, averaging, options)
    from ifseg_rt.backends.onnx_runtime.host_network import OnnxOnHost
    from ifseg_rt.backends.onnx_runtime.session import import_runtime, needed

    runtime = import_runtime()
    built_in = runtime.get_available_providers()
    kind = "tensorrt" if options.device.kind == "tensorrt" else "cuda"
    has_gpu = all(name in built_in for name in needed(kind))
    reason = None
    if options.device.kind != "cpu" and has_gpu:
        runner, reason = _try_gpu(model, averaging, options, kind)
        if runner is not None:
            return runner
        _LOG.warning("running on the CPU, because the GPU does not work here: %s", reason)
    elif options.device.kind not in ("auto", "cpu"):
        lacks = "is built for the CPU only" if kind == "cuda" else "has no TensorRT provider"
        raise DeviceError(
            f'device "{options.device}" was asked for; this ONNX Runtime {runtime.__version__} {lacks}',
            hint='pip uninstall onnxruntime && pip install "ifseg-rt[gpu]", or use --device cpu'
            if kind == "cuda"
            else "build an engine and run that: ifseg-rt rebuild model.onnx, or use --device cuda",
        )
    network = OnnxOnHost.on_cpu(model.path, model.artifact, threads=options.threads, fallback_reason=reason)
    return HostRunner(model.artifact, network, averaging, options.extras)


def _try_gpu(
    model: ModelFile, averaging: Averaging, options: RunOptions, kind: str
) -> tuple[Runner | None, str | None]:
    """A runner on the GPU, or why there is none; insisting turns that into an error."""
    from ifseg_rt.backends.onnx_runtime.session import import_runtime, why_no_gpu

    reason = why_no_gpu(import_runtime(), kind)
    if reason is None:
        try:
            return _open_onnx_on_device(model, averaging, options, kind), None
        except _NoKernelsError as error:
            runner, reason = _open_onnx_on_host(model, averaging, options, kind, str(error))
            if runner is not None:
                return runner, None
        except _NoProviderError as error:
            reason = str(error)
    if options.device.kind == "auto":
        return None, reason
    raise DeviceError(
        f'device "{options.device}" was asked for, but it does not work here: {reason}',
        hint="check the driver (nvidia-smi) and that CUDA and cuDNN fit onnxruntime-gpu, or use --device cpu",
    )


class _NoKernelsError(Exception):
    """Our kernels do not work here; the run time still may."""


class _NoProviderError(Exception):
    """The run time's GPU support does not work here."""


def _open_onnx_on_device(model: ModelFile, averaging: Averaging, options: RunOptions, kind: str) -> Runner:
    from ifseg_rt.backends.onnx_runtime.gpu_network import OnnxOnGpu
    from ifseg_rt.backends.onnx_runtime.session import (
        first_line,
        import_runtime,
        not_loaded,
        open_session,
        providers_for,
    )

    try:
        gpu = _open_gpu(options.device.gpu)
    except DeviceError as error:
        raise _NoKernelsError(str(error)) from error
    runtime = import_runtime()
    with gpu.current():
        try:
            providers = providers_for(kind, gpu.stream_address, gpu=gpu.index)
            session = open_session(runtime, model.path, providers, options.threads)
        except Exception as error:  # ONNX Runtime raises a different class for every status code
            raise _NoProviderError(first_line(error)) from error
        missing = not_loaded(session, kind)
        if missing is not None:
            raise _NoProviderError(missing)
        network = OnnxOnGpu(runtime, session, model.path, model.artifact, kind, gpu=gpu.index)
    return _gpu_runner(gpu, network, model, averaging, options)


def _open_onnx_on_host(
    model: ModelFile, averaging: Averaging, options: RunOptions, kind: str, why: str
) -> tuple[Runner | None, str | None]:
    from ifseg_rt.backends.onnx_runtime.host_network import OnnxOnHost
    from ifseg_rt.backends.onnx_runtime.session import (
        first_line,
        import_runtime,
        not_loaded,
        open_session,
        providers_for,
    )

    try:
        providers = providers_for(kind, gpu=options.device.gpu)
        session = open_session(import_runtime(), model.path, providers, options.threads)
    except Exception as error:  # ONNX Runtime raises a different class for every status code
        return None, first_line(error)
    missing = not_loaded(session, kind)
    if missing is not None:
        return None, missing
    reason = f"only the network runs on the GPU, frames and labels are worked on by the CPU: {why}"
    _LOG.warning("%s", reason)
    network = OnnxOnHost(session, model.path, model.artifact, device=kind, fallback_reason=reason)
    return HostRunner(model.artifact, network, averaging, options.extras, gpu=options.device.gpu), None


def _open_engine(model: ModelFile, averaging: Averaging, options: RunOptions) -> Runner:
    from ifseg_rt.backends.tensorrt.gpu_network import TensorRtOnGpu
    from ifseg_rt.backends.tensorrt.shared_engines import shared_engine

    checked = model.engine
    if checked is None or options.device.kind == "cpu":
        raise UsageError(
            f"{model.path.name} is an engine and runs on a GPU only; device cpu was asked for",
            hint=f"use {model.path.with_suffix('.onnx').name}, the ONNX model it was built from",
        )
    gpu = _open_gpu(options.device.gpu)
    with gpu.current():
        engine = shared_engine(checked, gpu.index)
        network = TensorRtOnGpu(engine, gpu.stream_address, cuda_graph=options.cuda_graph)
    return _gpu_runner(gpu, network, model, averaging, options)


def _gpu_runner(
    gpu: Gpu, network: GpuNetwork, model: ModelFile, averaging: Averaging, options: RunOptions
) -> GpuRunner:
    from ifseg_rt.gpu.runner import GpuRunner

    return GpuRunner(
        gpu,
        network,
        model.artifact,
        averaging,
        options.extras,
        cuda_graph=options.cuda_graph,
        time_stages=options.time_stages,
    )


def _open_gpu(index: int) -> Gpu:
    from ifseg_rt.gpu.device import Gpu

    return Gpu(index)
