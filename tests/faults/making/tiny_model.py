"""The smallest real model: a start of the command takes longer than all its frames."""

from __future__ import annotations

from pathlib import Path


def write_model(folder: Path) -> Path:
    """Write ``model.onnx`` with its sidecar for pictures of 32 x 48 into ``folder`` and return its path."""
    import onnx

    from ifseg_rt.artifact.sidecar import sidecar_path, write_artifact
    from tests.ifseg_rt.conftest import build_graph, describe

    path = folder / "model.onnx"
    settings = {"k": 3, "rounds": 1, "most": 5, "batch": 1}
    onnx.save(build_graph(32, 48, **settings), path)
    write_artifact(describe(path, 32, 48, **settings), sidecar_path(path))
    return path
