"""Ways to run an exported model; the file's suffix chooses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ifseg_rt.errors import ArtifactError

if TYPE_CHECKING:
    from ifseg_rt.artifact import Artifact
    from ifseg_rt.backends.base import Backend

__all__ = ["open_backend"]


def open_backend(model: Path, artifact: Artifact, *, device: str, threads: int | None) -> Backend:
    """Load the model on a device.

    Raises:
        ArtifactError: no backend of this build runs such files, or the graph does not fit its sidecar.
        DeviceError: the run time is not installed or the device refuses to work.
    """
    suffix = model.suffix.lower()
    if suffix == ".onnx":
        from ifseg_rt.backends.onnx_runtime import OnnxRuntimeBackend

        return OnnxRuntimeBackend(model, artifact, device=device, threads=threads)
    raise ArtifactError(f"this build has no backend for {suffix or 'extensionless'} files", hint="use the .onnx model")
