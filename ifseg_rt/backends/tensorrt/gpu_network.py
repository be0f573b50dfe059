"""Runs an engine of TensorRT or TensorRT-RTX over memory of the GPU runner."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ifseg_rt.artifact.schema import OPEN_AXIS
from ifseg_rt.backends.tensorrt.shared_engines import SharedEngine
from ifseg_rt.errors import DeviceError

if TYPE_CHECKING:
    from ifseg_rt.artifact.sidecar import TensorSpec

_LOG = logging.getLogger(__name__)


class TensorRtOnGpu:
    """One context of a shared engine.

    Args:
        engine: the engine; may serve other contexts at the same time.
        stream: address of the CUDA stream to enqueue on.
        cuda_graph: whether the frame, or failing that the engine alone, may run as a CUDA graph.

    Raises:
        DeviceError: TensorRT cannot make a context.
    """

    def __init__(self, engine: SharedEngine, stream: int, *, cuda_graph: bool = True) -> None:
        # The contexts before the engine: attributes go in this order, and contexts must not outlive their engine.
        self._context: Any = engine.make_context()
        self._former: Any = None
        self._engine: SharedEngine | None = engine
        self._stream = stream
        self._cuda_graph = cuda_graph
        self._title = engine.checked.tensorrt.title
        self._bound: dict[str, int] = {}
        self.device: str = engine.checked.tensorrt.name
        self.fallback_reason: str | None = None

    def bind(self, addresses: Mapping[str, int]) -> None:
        """See :meth:`ifseg_rt.gpu.network.GpuNetwork.bind`."""
        self._bound = dict(addresses)
        self._prepare(self._context)

    def enqueue(self) -> None:
        """See :meth:`ifseg_rt.gpu.network.GpuNetwork.enqueue`."""
        engine = self._open_engine()
        before = engine.errors
        if not self._context.execute_async_v3(self._stream):
            raise DeviceError(f"{self._title} failed to run {self._name}: {engine.words_since(before)}")

    def why_not_recordable(self) -> str | None:
        """See :meth:`ifseg_rt.gpu.network.GpuNetwork.why_not_recordable`.

        Only TensorRT-RTX can tell. Where it says no, its own graph of the engine alone is switched on instead.
        """
        ask = getattr(self._context, "is_stream_capturable", None)
        if ask is None or ask(self._stream):
            return None
        engine = self._open_engine()
        if not self._cuda_graph:
            return f"{self._title} says that {self._name} cannot be recorded"
        context = engine.make_context(own_graph=True)
        self._prepare(context)
        # The former one is kept until the end: the GPU may not be done with it.
        self._former, self._context = self._context, context
        return f"{self._title} says that {self._name} cannot be recorded; it uses a graph of the engine alone"

    def close(self) -> None:
        """See :meth:`ifseg_rt.gpu.network.GpuNetwork.close`."""
        if self._engine is not None:
            self._engine.keep_compiled()
        self._context = self._former = None
        self._engine = None

    @property
    def _name(self) -> str:
        return self._open_engine().checked.path.name

    def _open_engine(self) -> SharedEngine:
        if self._engine is None:
            raise DeviceError("this engine was closed")
        return self._engine

    def _prepare(self, context: Any) -> None:  # noqa: ANN401 - an IExecutionContext
        """Tell a context shapes and addresses."""
        engine = self._open_engine()
        artifact = engine.checked.artifact
        for spec in artifact.inputs:
            self._set_shape(engine, context, spec)
        for spec in (*artifact.inputs, *artifact.outputs):
            before = engine.errors
            if spec.name not in self._bound:
                raise DeviceError(f"{self._name} has a tensor {spec.name!r} that no memory is planned for")
            if not context.set_tensor_address(spec.name, self._bound[spec.name]):
                raise DeviceError(f"{self._title} refuses the memory of {spec.name!r}: {engine.words_since(before)}")
        missing = context.infer_shapes()
        if missing:
            raise DeviceError(f"{self._title} does not know the shapes of {', '.join(missing)} in {self._name}")

    def _set_shape(self, engine: SharedEngine, context: Any, spec: TensorSpec) -> None:  # noqa: ANN401
        if -1 not in tuple(engine.loaded.engine.get_tensor_shape(spec.name)):
            return
        before = engine.errors
        # What is open is the number of pictures.
        shape = tuple(1 if length == OPEN_AXIS else length for length in spec.shape)
        if not context.set_input_shape(spec.name, shape):
            raise DeviceError(
                f"{self._name} was not built for {spec.name!r} of shape {list(shape)}: {engine.words_since(before)}"
            )
