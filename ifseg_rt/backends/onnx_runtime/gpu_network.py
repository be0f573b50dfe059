"""Runs a model with ONNX Runtime on the GPU over memory of the GPU runner, through I/O binding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ifseg_rt.artifact.schema import LOGITS, NEIGHBOURS
from ifseg_rt.backends.onnx_runtime.session import CPU, CUDA, ERRORS_ONLY, check_graph, first_line
from ifseg_rt.errors import DeviceError

if TYPE_CHECKING:
    from ifseg_rt.artifact.sidecar import Artifact

_RUNS_BEFORE_RECORDING = 2  # beside the first


class OnnxOnGpu:
    """One ONNX Runtime session that works in the GPU runner's own stream.

    Only ``logits`` and ``neighbours`` are computed: the averaging is done by our kernels.

    Args:
        runtime: the ``onnxruntime`` module.
        session: made with the stream as ``user_compute_stream``.
        model: path of the ``.onnx`` file, for messages.
        artifact: its verified sidecar.
        kind: ``"cuda"`` or ``"tensorrt"``.
        gpu: number of the GPU that the session works on and bound memory lies on.

    Raises:
        ArtifactError: the graph's inputs and outputs are not those of the sidecar.
    """

    # Where bound memory lies, for ONNX Runtime.
    memory_kind = "cuda"

    def __init__(
        self,
        runtime: Any,  # noqa: ANN401
        session: Any,  # noqa: ANN401
        model: Path,
        artifact: Artifact,
        kind: str,
        *,
        gpu: int = 0,
    ) -> None:
        check_graph(session, artifact, model)
        self._session = session
        self._gpu_index = gpu
        self._specs = {spec.name: spec for spec in (*artifact.inputs, *artifact.outputs)}
        self._input = artifact.inputs[0].name
        self._outputs = (LOGITS,) if artifact.refinement is None else (LOGITS, NEIGHBOURS)
        self._binding: Any = None
        self._options = runtime.RunOptions()
        self._options.log_severity_level = ERRORS_ONLY
        self._options.only_execute_path_to_fetches = True
        # Our stream orders everything, and the runner waits for it once a frame.
        self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        self.device: str = kind
        self.fallback_reason: str | None = None

    def bind(self, addresses: Mapping[str, int]) -> None:
        """See :meth:`ifseg_rt.gpu.network.GpuNetwork.bind`."""
        binding = self._open_session().io_binding()
        try:
            binding.bind_input(self._input, *self._place(self._input, addresses))
            for name in self._outputs:
                binding.bind_output(name, *self._place(name, addresses))
        except Exception as error:
            raise DeviceError(f"ONNX Runtime refuses the GPU memory: {first_line(error)}") from error
        self._binding = binding

    def enqueue(self) -> None:
        """See :meth:`ifseg_rt.gpu.network.GpuNetwork.enqueue`."""
        try:
            self._open_session().run_with_iobinding(self._binding, self._options)
        except DeviceError:
            raise
        except Exception as error:  # ONNX Runtime raises a different class for every status code
            raise DeviceError(f"ONNX Runtime failed on {self.device}: {first_line(error)}") from error

    def why_not_recordable(self) -> str | None:
        """See :meth:`ifseg_rt.gpu.network.GpuNetwork.why_not_recordable`.

        A node on the CPU would run while recording and never again. Only ONNX Runtime 1.24 and later say where nodes
        are. Before saying yes it runs twice more: ONNX Runtime takes GPU memory in the second run too, for what it
        learned in the first, and a recording does not allow that.
        """
        if self.device != "cuda":
            return "ONNX Runtime's TensorRT provider makes its own arrangements with the stream"
        ask = getattr(self._open_session(), "get_provider_graph_assignment_info", None)
        if ask is None:
            return "this ONNX Runtime does not tell which nodes run on the CPU; 1.24 and later do"
        try:
            nodes = Counter({CUDA: 0})
            for subgraph in ask():
                nodes[subgraph.ep_name] += len(subgraph.get_nodes())
        except Exception as error:
            return f"ONNX Runtime does not tell which nodes run on the CPU: {first_line(error)}"
        reason = why_not_all_on_gpu(nodes)
        if reason is None:
            for _ in range(_RUNS_BEFORE_RECORDING):
                self.enqueue()
        return reason

    def close(self) -> None:
        """See :meth:`ifseg_rt.gpu.network.GpuNetwork.close`."""
        self._binding = None
        self._session = None

    def _open_session(self) -> Any:  # noqa: ANN401
        if self._session is None:
            raise DeviceError("this model was closed")
        return self._session

    def _place(self, name: str, addresses: Mapping[str, int]) -> tuple[str, int, type, tuple[int, ...], int]:
        """The last five arguments of ``bind_input`` and ``bind_output``."""
        spec = self._specs[name]
        return self.memory_kind, self._gpu_index, np.dtype(spec.dtype).type, spec.shape, addresses[name]


def why_not_all_on_gpu(nodes: Mapping[str, int]) -> str | None:
    """Why a graph whose nodes are spread like that cannot be recorded, or ``None``.

    Args:
        nodes: how many of them each execution provider has.
    """
    if not nodes.get(CUDA):
        return "ONNX Runtime does not say where its nodes run"
    elsewhere = {name: count for name, count in nodes.items() if name != CUDA and count}
    if not elsewhere:
        return None
    spread = ", ".join(f"{count} on {'the CPU' if name == CPU else name}" for name, count in sorted(elsewhere.items()))
    return f"ONNX Runtime runs {spread} of {sum(nodes.values())} nodes"
