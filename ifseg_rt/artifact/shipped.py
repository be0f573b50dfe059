"""The model that is part of the package."""

from __future__ import annotations

from pathlib import Path

from ifseg_rt.errors import ArtifactError


def default_model_path() -> Path:
    """The model shipped inside the package.

    Raises:
        ArtifactError: this installation carries none.
    """
    path = Path(__file__).parents[1] / "assets" / "micro.onnx"
    if not path.is_file():
        raise ArtifactError(
            f"this installation carries no default model: expected {path}",
            hint="install ifseg-rt again, or name a model: --model model.onnx",
        )
    return path
