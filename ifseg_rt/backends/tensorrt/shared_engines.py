"""Engines on the GPU, each loaded once however many segmenters use it; and their contexts."""

from __future__ import annotations

import logging
import threading
import weakref
from typing import TYPE_CHECKING, Any

from ifseg_rt.backends.tensorrt import rtx_cache
from ifseg_rt.errors import ArtifactError, DeviceError
from ifseg_rt.tensorrt.loading import CheckedEngine, LoadedEngine, load_engine
from ifseg_rt.tensorrt.sidecar import rebuild_hint

if TYPE_CHECKING:
    from ifseg_rt.artifact.sidecar import TensorSpec

_LOG = logging.getLogger(__name__)
_DTYPES = {"FLOAT": "float32", "INT32": "int32", "HALF": "float16", "BF16": "bfloat16", "INT64": "int64"}


class SharedEngine:
    """One engine; contexts made from it keep it alive.

    Attributes:
        checked: file, sidecar and flavour of TensorRT.
        loaded: the engine and what has to live with it.
    """

    def __init__(self, checked: CheckedEngine, *, allow_host_code: bool = False) -> None:
        self.checked = checked
        # The IRuntimeCache of TensorRT-RTX: before the engine that makes it, since attributes go in this order.
        self._compiled: Any = None
        self._known = b""
        self._lock = threading.Lock()
        self.loaded: LoadedEngine = load_engine(checked, allow_host_code=allow_host_code)
        _check_tensors(self.loaded.engine, checked)

    def words_since(self, count: int) -> str:
        """TensorRT's first error after the first ``count`` it gave; what follows is usually its echo."""
        errors = self.loaded.messages.errors[count:]
        return errors[0] if errors else "it gave no reason"

    @property
    def errors(self) -> int:
        """How many errors TensorRT gave so far."""
        return len(self.loaded.messages.errors)

    def make_context(self, *, own_graph: bool = False) -> Any:  # noqa: ANN401 - an IExecutionContext
        """A context; with TensorRT-RTX this compiles for the GPU at hand, or reads that from the user's cache folder.

        Args:
            own_graph: let TensorRT-RTX use a CUDA graph of its own; full TensorRT has none.

        Raises:
            DeviceError: TensorRT cannot make one, in its own words.
        """
        with self._lock:
            before = self.errors
            try:
                if hasattr(self.checked.tensorrt.module, "CudaGraphStrategy"):
                    context = self._context_of_rtx(own_graph=own_graph)
                else:
                    context = self.loaded.engine.create_execution_context()
            except (RuntimeError, TypeError) as error:  # what the bindings raise for a null pointer
                raise self._no_context(before) from error
        if context is None:
            raise self._no_context(before)
        return context

    def _context_of_rtx(self, *, own_graph: bool) -> Any:  # noqa: ANN401
        trt = self.checked.tensorrt.module
        config = self.loaded.engine.create_runtime_config()
        if config is None:
            return None
        strategies = trt.CudaGraphStrategy
        config.cuda_graph_strategy = strategies.WHOLE_GRAPH_CAPTURE if own_graph else strategies.DISABLED
        # Shapes are fixed, so nothing is specialised later; should a shape be dynamic, it is done at once, not midway.
        config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        if self._compiled is None:
            self._compiled, self._known = rtx_cache.open_cache(config, rtx_cache.cache_file(self.checked))
        if self._compiled is not None and not config.set_runtime_cache(self._compiled):
            _LOG.debug("TensorRT-RTX does not take its runtime cache")
        context = self.loaded.engine.create_execution_context(config)
        self._store_compiled()
        return context

    def keep_compiled(self) -> None:
        """Write what TensorRT-RTX compiled since the contexts were made to the user's cache folder."""
        with self._lock:
            self._store_compiled()

    def _store_compiled(self) -> None:
        if self._compiled is not None:
            path = rtx_cache.cache_file(self.checked)
            self._known = rtx_cache.store(self._compiled, path, self._known)

    def _no_context(self, before: int) -> DeviceError:
        title = self.checked.tensorrt.title
        return DeviceError(
            f"{title} cannot prepare {self.checked.path.name} for running: {self.words_since(before)}",
            hint="free GPU memory (nvidia-smi shows who uses it), or take a smaller model",
        )


_engines: weakref.WeakValueDictionary[tuple[str, str, int, bool], SharedEngine] = weakref.WeakValueDictionary()
_loading = threading.Lock()


def shared_engine(checked: CheckedEngine, gpu: int, *, allow_host_code: bool = False) -> SharedEngine:
    """The engine of a file on a GPU, loaded when no segmenter has it yet.

    Args:
        checked: the checked file.
        gpu: ordinal of the GPU, which is current in the calling thread.
        allow_host_code: let an engine that carries code for the CPU run it.

    Raises:
        ArtifactError: the engine's tensors are not those of its sidecar, or TensorRT refuses it.
        DeviceError: TensorRT or the GPU fails.
    """
    key = (checked.tensorrt.name, checked.artifact.engine.sha256, gpu, allow_host_code)
    with _loading:
        engine = _engines.get(key)
        if engine is None:
            engine = _engines[key] = SharedEngine(checked, allow_host_code=allow_host_code)
            _LOG.debug("loaded %s", checked.path)
        return engine


def _check_tensors(engine: Any, checked: CheckedEngine) -> None:  # noqa: ANN401
    found = {
        name: (
            engine.get_tensor_mode(name).name,
            _DTYPES.get(engine.get_tensor_dtype(name).name, engine.get_tensor_dtype(name).name),
            tuple(engine.get_tensor_shape(name)),
        )
        for name in (engine.get_tensor_name(index) for index in range(engine.num_io_tensors))
    }
    artifact = checked.artifact
    expected = {spec.name: ("INPUT", spec) for spec in artifact.inputs}
    expected.update({spec.name: ("OUTPUT", spec) for spec in artifact.outputs})
    problem = tensor_problem(found, expected)
    if problem is not None:
        raise ArtifactError(
            f"{checked.path} does not fit its sidecar: {problem}",
            hint=f"copy the pair again, or {rebuild_hint(checked.path)}",
        )


def tensor_problem(
    found: dict[str, tuple[str, str, tuple[int, ...]]], expected: dict[str, tuple[str, TensorSpec]]
) -> str | None:
    """The first way in which an engine's tensors are not the expected ones, or ``None``.

    Args:
        found: mode, type and shape by name; -1 in a shape stands for any length.
        expected: mode and specification by name.
    """
    for name, (mode, spec) in expected.items():
        wanted = f"{mode.lower()} {name!r} should be {spec.dtype} {list(spec.shape)}"
        if name not in found:
            return f"{wanted}, found none"
        its_mode, dtype, shape = found[name]
        fits = len(shape) == len(spec.shape) and all(a in (-1, b) for a, b in zip(shape, spec.shape, strict=True))
        if (its_mode, dtype) != (mode, spec.dtype) or not fits:
            return f"{wanted}, found {its_mode.lower()} {dtype} {list(shape)}"
    extra = sorted(set(found) - set(expected))
    return f"it has a tensor {extra[0]!r} that the sidecar does not know" if extra else None
