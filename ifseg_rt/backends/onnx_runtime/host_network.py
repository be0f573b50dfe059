"""Runs a model with ONNX Runtime between arrays on the host."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ifseg_rt.artifact.schema import PROBABILITIES
from ifseg_rt.backends.onnx_runtime.session import (
    CPU,
    FATAL_ONLY,
    Provider,
    check_graph,
    import_runtime,
    open_session,
)
from ifseg_rt.backends.onnx_runtime.words import runtime_words
from ifseg_rt.errors import ArtifactError, DeviceError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ifseg_rt.artifact.content import ModelContent
    from ifseg_rt.artifact.sidecar import Artifact


class OnnxOnHost:
    """One ONNX Runtime session.

    Args:
        session: loaded for ``device``.
        model: path of the ``.onnx`` file, for messages.
        artifact: its verified sidecar.
        device: ``"cpu"``, ``"cuda"`` or ``"tensorrt"``.
        fallback_reason: why not what was preferred, or ``None``.

    Raises:
        ArtifactError: the graph's inputs and outputs are not those of the sidecar.
    """

    def __init__(
        self,
        session: Any,  # noqa: ANN401
        model: Path,
        artifact: Artifact,
        *,
        device: str = "cpu",
        fallback_reason: str | None = None,
    ) -> None:
        check_graph(session, artifact, model)
        self.device = device
        self.fallback_reason = fallback_reason
        self._session = session
        self._input = artifact.inputs[0].name
        self._partial_run = import_runtime().RunOptions()
        # Without it the kNN part of the graph is computed even when nobody asks for its outputs.
        self._partial_run.only_execute_path_to_fetches = True
        self._partial_run.log_severity_level = FATAL_ONLY

    @classmethod
    def on_cpu(
        cls, model: ModelContent, artifact: Artifact, *, threads: int | None = None, fallback_reason: str | None = None
    ) -> OnnxOnHost:
        """Load a model on the CPU.

        Args:
            model: the verified bytes.
            artifact: its verified sidecar.
            threads: CPU threads; ``None`` for one per physical core, or as many as the container may use.
            fallback_reason: why not what was preferred, or ``None``.

        Raises:
            DeviceError: ONNX Runtime is missing or too old.
            ArtifactError: the graph does not fit its sidecar.
        """
        session = session_or_error(model, artifact, [CPU], threads)
        return cls(session, model.path, artifact, fallback_reason=fallback_reason)

    def run(self, image: NDArray[np.float32], outputs: Sequence[str]) -> list[NDArray[np.float32] | NDArray[np.int32]]:
        """See :meth:`ifseg_rt.host.network.HostNetwork.run`."""
        if self._session is None:
            raise DeviceError("this model was closed")
        options = None if PROBABILITIES in outputs else self._partial_run
        try:
            arrays: list[NDArray[np.float32] | NDArray[np.int32]] = self._session.run(
                list(outputs), {self._input: image}, options
            )
        except Exception as error:  # ONNX Runtime raises a different class for every status code
            raise DeviceError(f"ONNX Runtime failed on {self.device}: {runtime_words(error)}") from error
        return arrays

    def close(self) -> None:
        """See :meth:`ifseg_rt.host.network.HostNetwork.close`."""
        self._session = None


def session_or_error(
    model: ModelContent, artifact: Artifact, providers: Sequence[Provider], threads: int | None
) -> Any:  # noqa: ANN401
    """A session, or a :class:`DeviceError` that says with which version the model was tested."""
    runtime = import_runtime()
    try:
        return open_session(runtime, model, providers, threads)
    except ArtifactError:
        raise
    except Exception as error:
        raise DeviceError(
            f"ONNX Runtime {runtime.__version__} cannot load {model.path}: {runtime_words(error)}",
            hint=_remedy(artifact.tools.get("onnxruntime"), model.outline.opset),
        ) from error


def _remedy(made_with: str | None, opset: int) -> str | None:
    if made_with is None:
        return None
    lower = f", or export it again in an older operator set than {opset}: --opset 20" if opset > 20 else ""
    return f"it was exported and tested with ONNX Runtime {made_with}: install that or a later one{lower}"
