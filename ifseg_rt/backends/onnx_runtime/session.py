"""Sessions of ONNX Runtime: which execution providers work here, why others do not, and whether a graph fits."""

from __future__ import annotations

import ctypes
import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ifseg_rt.backends.onnx_runtime.limits import cap_memory, default_threads
from ifseg_rt.backends.onnx_runtime.words import first_line
from ifseg_rt.cache import usable_folder
from ifseg_rt.errors import ArtifactError, DeviceError
from ifseg_rt.native_noise import native_noise_hidden

if TYPE_CHECKING:
    from ifseg_rt.artifact.content import ModelContent
    from ifseg_rt.artifact.sidecar import Artifact

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
# ONNX Runtime's severity: what it has to say about errors comes with the exception, and we say it in our own words.
FATAL_ONLY = 4

_GRAPH_TYPES = {"float32": "tensor(float)", "int32": "tensor(int32)"}
_LIBRARIES = {CUDA: "libonnxruntime_providers_cuda.so", TENSORRT: "libonnxruntime_providers_tensorrt.so"}
_NAMES = {CUDA: "CUDA", TENSORRT: "TensorRT"}
_CUDA_FILES = "*/lib/lib[cn]*.so.*"  # libcublas, libcudart, libcudnn, libcurand, libcufft, libnvrtc
# With TensorRT the 25 averaging rounds of the graph never finish building: they are gathers, the only ones there are,
# and what lies between two of them is smaller than this.
_SMALLEST_SUBGRAPH = 8

Provider = str | tuple[str, dict[str, str]]


def import_runtime() -> Any:  # noqa: ANN401
    """The ``onnxruntime`` module.

    Raises:
        DeviceError: it is not installed, or does not load.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise DeviceError(
            f"ONNX Runtime is not usable here: {first_line(error)}",
            hint='pip install "ifseg-rt[cpu]", or "ifseg-rt[gpu]" on a machine with an NVIDIA GPU',
        ) from None
    return onnxruntime


def providers_for(kind: str, stream: int | None = None, *, gpu: int = 0) -> list[Provider]:
    """The execution providers for a GPU, best first, always with the CPU last.

    Args:
        kind: ``"cuda"`` or ``"tensorrt"``.
        stream: address of the CUDA stream to work in; ``None`` for one of ONNX Runtime's own.
        gpu: number of the GPU, as CUDA counts them.
    """
    common = {"device_id": str(gpu)}
    if stream is not None:
        common["user_compute_stream"] = str(stream)
    found: list[Provider] = [(CUDA, common), CPU]
    if kind == "tensorrt":
        folder = str(_engine_cache())
        options = {
            "trt_engine_cache_enable": "True",
            "trt_engine_cache_path": folder,
            "trt_timing_cache_enable": "True",
            "trt_timing_cache_path": folder,
            "trt_op_types_to_exclude": "Gather",
            "trt_min_subgraph_size": str(_SMALLEST_SUBGRAPH),
        }
        found.insert(0, (TENSORRT, {**common, **options}))
    return found


def open_session(runtime: Any, model: ModelContent, providers: Sequence[Provider], threads: int | None) -> Any:  # noqa: ANN401
    """An ``InferenceSession`` of the bytes that were verified; raises whatever ONNX Runtime raises.

    Raises:
        ArtifactError: a file of weights was changed since it was verified.
    """
    options = runtime.SessionOptions()
    options.log_severity_level = FATAL_ONLY
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    cap_memory(runtime, options)
    threads = threads or default_threads()
    if threads is not None:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
    # Weights in files of their own are found beside the graph, by its path.
    graph = str(model.path) if model.weights else model.graph
    # enable_fallback=0: the Python wrapper would otherwise print and retry on the CPU by itself.
    session = runtime.InferenceSession(graph, options, providers=list(providers), enable_fallback=0)
    model.require_unchanged()
    return session


def why_no_gpu(runtime: Any, kind: str) -> str | None:  # noqa: ANN401
    """What keeps ``"cuda"`` or ``"tensorrt"`` from working, as far as its libraries tell, or ``None``."""
    preload = getattr(runtime, "preload_dlls", None)
    try:
        if preload is not None:
            # It prints a line for every library that is not there, onto standard output.
            with native_noise_hidden(), redirect_stdout(io.StringIO()):
                preload()  # finds CUDA and cuDNN inside pip packages, which the loader does not search
                for folder in _elsewhere(runtime):
                    preload(directory=folder)
    except Exception as error:
        return first_line(error)
    return next((reason for name in needed(kind) if (reason := _missing_library(runtime, name))), None)


def needed(kind: str) -> tuple[str, ...]:
    """The execution providers that ``"cuda"`` or ``"tensorrt"`` cannot do without."""
    return (TENSORRT, CUDA) if kind == "tensorrt" else (CUDA,)


def not_loaded(session: Any, kind: str) -> str | None:  # noqa: ANN401
    """What a session silently went without, or ``None``."""
    loaded = session.get_providers()
    for name in needed(kind):
        if name not in loaded:
            library = "a CUDA or cuDNN library" if name == CUDA else "a TensorRT library"
            return f"ONNX Runtime could not load its {_NAMES[name]} provider ({library} is missing)"
    return None


def check_graph(session: Any, artifact: Artifact, model: Path) -> None:  # noqa: ANN401
    """Compare the graph with its sidecar.

    Raises:
        ArtifactError: an input or output is missing or of another type or shape.
    """
    for role, nodes, specs in (
        ("input", session.get_inputs(), artifact.inputs),
        ("output", session.get_outputs(), artifact.outputs),
    ):
        found = {node.name: (node.type, tuple(node.shape)) for node in nodes}
        for spec in specs:
            expected = (_GRAPH_TYPES[spec.dtype], spec.shape)
            kind, shape = found.get(spec.name, (None, ()))
            # A number of pictures that is open has a name in the graph, and one picture fits it.
            lengths = (spec.shape[0] if isinstance(shape[0], str) else shape[0], *shape[1:]) if shape else ()
            if (kind, lengths) != expected:
                raise ArtifactError(
                    f"{model} does not fit its sidecar: {role} {spec.name!r} should be {expected[0]} "
                    f"{list(expected[1])}, found {found.get(spec.name, 'none')}"
                )


def _elsewhere(runtime: Any) -> list[str]:  # noqa: ANN401
    """Folders with CUDA's libraries in pip packages that do not lie beside ONNX Runtime's, where alone it looks.

    So they do where it was installed for one user or with ``--target``, and PyTorch's CUDA for all.
    """
    try:
        packages = [Path(folder) for folder in import_module("nvidia").__path__]
    except ImportError:
        return []
    beside = Path(runtime.__file__).resolve().parent.parent / "nvidia"
    found = [
        library.parent for folder in packages if folder.resolve() != beside for library in folder.glob(_CUDA_FILES)
    ]
    return sorted({str(folder) for folder in found})


def _missing_library(runtime: Any, provider: str) -> str | None:  # noqa: ANN401
    """The loader's words about the first library that a provider needs and that is not here, or ``None``."""
    library = Path(runtime.__file__).parent / "capi" / _LIBRARIES[provider]
    if not library.is_file():
        return None
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        # Only this is certain to stop ONNX Runtime too; symbols that are still open it supplies itself.
        return first_line(error) if "cannot open shared object file" in str(error) else None
    return None


def _engine_cache() -> Path:
    return usable_folder("onnxruntime-tensorrt")
