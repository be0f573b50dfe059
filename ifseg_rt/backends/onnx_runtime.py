"""Runs a model with ONNX Runtime, on the CPU or on an NVIDIA GPU."""

from __future__ import annotations

import ctypes
import io
import logging
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ifseg_rt.errors import ArtifactError, DeviceError
from ifseg_rt.quiet import native_noise_hidden

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ifseg_rt.artifact import Artifact

_LOG = logging.getLogger(__name__)
_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
_GRAPH_TYPES = {"float32": "tensor(float)", "int32": "tensor(int32)"}
_ERRORS_ONLY = 3  # ONNX Runtime's severity; its warnings about constant folding mean nothing to a user


class OnnxRuntimeBackend:
    """One ONNX Runtime session.

    Args:
        model: path of the ``.onnx`` file.
        artifact: its verified sidecar.
        device: ``"auto"`` takes a GPU when one works and says loudly why not otherwise; ``"cuda"`` insists; ``"cpu"``.
        threads: CPU threads; ``None`` leaves the choice to ONNX Runtime (one per physical core).

    Raises:
        DeviceError: ONNX Runtime is missing or too old, or the GPU insisted on does not work.
        ArtifactError: the graph's inputs and outputs are not those of the sidecar.
    """

    def __init__(self, model: Path, artifact: Artifact, *, device: str, threads: int | None) -> None:
        self._runtime = _import_runtime()
        self._threads = threads
        self._session, self.device, self.fallback_reason = self._open(model, device, artifact)
        _check_graph(self._session, artifact, model)
        self._input = artifact.inputs[0].name
        self._partial_run = self._runtime.RunOptions()
        # Without it the kNN part of the graph is computed even when nobody asks for its outputs.
        self._partial_run.only_execute_path_to_fetches = True
        self._partial_run.log_severity_level = _ERRORS_ONLY
        self._all_outputs = {spec.name for spec in artifact.outputs}

    def run(self, image: NDArray[np.float32], outputs: Sequence[str]) -> list[NDArray[np.float32] | NDArray[np.int32]]:
        """See :meth:`ifseg_rt.backends.base.Backend.run`."""
        if self._session is None:
            raise DeviceError("this model was closed")
        options = None if "probabilities" in outputs else self._partial_run
        try:
            arrays: list[NDArray[np.float32] | NDArray[np.int32]] = self._session.run(
                list(outputs), {self._input: image}, options
            )
        except Exception as error:  # ONNX Runtime raises a different class for every status code
            raise DeviceError(f"ONNX Runtime failed on {self.device}: {_first_line(error)}") from error
        return arrays

    def close(self) -> None:
        """See :meth:`ifseg_rt.backends.base.Backend.close`."""
        self._session = None

    def _open(self, model: Path, device: str, artifact: Artifact) -> tuple[Any, str, str | None]:
        built_in = self._runtime.get_available_providers()
        if device == "cpu" or (device == "auto" and _CUDA not in built_in):
            return self._create(model, [_CPU], artifact), "cpu", None
        if _CUDA not in built_in:
            raise DeviceError(
                f'device "cuda" was asked for; this ONNX Runtime {self._runtime.__version__} is built for the CPU only',
                hint='pip uninstall onnxruntime && pip install "ifseg-rt[gpu]", or use --device cpu',
            )
        session, reason = self._try_cuda(model)
        if session is not None:
            return session, "cuda", None
        if device == "cuda":
            raise DeviceError(
                f'device "cuda" was asked for, but it does not work here: {reason}',
                hint="check the driver (nvidia-smi) and that CUDA and cuDNN fit onnxruntime-gpu, or use --device cpu",
            )
        _LOG.warning("running on the CPU, because the GPU does not work here: %s", reason)
        return self._create(model, [_CPU], artifact), "cpu", reason

    def _try_cuda(self, model: Path) -> tuple[Any | None, str]:
        preload = getattr(self._runtime, "preload_dlls", None)
        try:
            if preload is not None:
                # It prints a line for every library that is not there, onto standard output.
                with native_noise_hidden(), redirect_stdout(io.StringIO()):
                    preload()  # finds CUDA and cuDNN inside pip packages, which the loader does not search
            missing = _missing_library(self._runtime)
            if missing is not None:
                return None, missing
            session = self._session_for(model, [_CUDA, _CPU])
        except Exception as error:
            return None, _first_line(error)
        if _CUDA in session.get_providers():
            return session, ""
        return None, "ONNX Runtime could not load its CUDA provider (a CUDA or cuDNN library is missing)"

    def _create(self, model: Path, providers: list[str], artifact: Artifact) -> Any:  # noqa: ANN401
        try:
            return self._session_for(model, providers)
        except Exception as error:
            made_with = artifact.tools.get("onnxruntime")
            hint = f"it was exported and tested with ONNX Runtime {made_with}" if made_with else None
            raise DeviceError(
                f"ONNX Runtime {self._runtime.__version__} cannot load {model}: {_first_line(error)}", hint=hint
            ) from error

    def _session_for(self, model: Path, providers: list[str]) -> Any:  # noqa: ANN401
        options = self._runtime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        if self._threads is not None:
            options.intra_op_num_threads = self._threads
            options.inter_op_num_threads = 1
        # enable_fallback=0: the Python wrapper would otherwise print and retry on the CPU by itself.
        return self._runtime.InferenceSession(str(model), options, providers=providers, enable_fallback=0)


def _import_runtime() -> Any:  # noqa: ANN401
    try:
        import onnxruntime
    except ImportError as error:
        raise DeviceError(
            f"ONNX Runtime is not usable here: {_first_line(error)}",
            hint='pip install "ifseg-rt[cpu]", or "ifseg-rt[gpu]" on a machine with an NVIDIA GPU',
        ) from None
    return onnxruntime


def _missing_library(runtime: Any) -> str | None:  # noqa: ANN401
    """The loader's words about the first library that CUDA support needs and that is not here, or ``None``."""
    provider = Path(runtime.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"
    if not provider.is_file():
        return None
    try:
        ctypes.CDLL(str(provider))
    except OSError as error:
        # Only this is certain to stop ONNX Runtime too; symbols that are still open it supplies itself.
        return _first_line(error) if "cannot open shared object file" in str(error) else None
    return None


def _check_graph(session: Any, artifact: Artifact, model: Path) -> None:  # noqa: ANN401
    for role, nodes, specs in (
        ("input", session.get_inputs(), artifact.inputs),
        ("output", session.get_outputs(), artifact.outputs),
    ):
        found = {node.name: (node.type, tuple(node.shape)) for node in nodes}
        for spec in specs:
            expected = (_GRAPH_TYPES[spec.dtype], spec.shape)
            if found.get(spec.name) != expected:
                raise ArtifactError(
                    f"{model} does not fit its sidecar: {role} {spec.name!r} should be {expected[0]} "
                    f"{list(expected[1])}, found {found.get(spec.name, 'none')}"
                )


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
