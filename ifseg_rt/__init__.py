"""Real-time semantic segmentation from a list of words, on NumPy, OpenCV and an inference run time.

Example:
    >>> from ifseg_rt import Segmenter
    >>> with Segmenter("model.onnx") as segmenter:
    ...     result = segmenter(frame)

Names are loaded when first used: importing the package alone takes a few milliseconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ifseg_rt.artifact.sidecar import Artifact, read_artifact
    from ifseg_rt.errors import IfsegError
    from ifseg_rt.result import Result
    from ifseg_rt.segmenter import Segmenter
    from ifseg_rt.sinks.label_video import read_label_video
    from ifseg_rt.sinks.palette import read_labels
    from ifseg_rt.sources.settings import SourceSettings
    from ifseg_rt.stream.observer import Observer
    from ifseg_rt.stream.policy import StreamPolicy

    __version__: str

__all__ = [
    "Artifact",
    "IfsegError",
    "Observer",
    "Result",
    "Segmenter",
    "SourceSettings",
    "StreamPolicy",
    "__version__",
    "read_artifact",
    "read_label_video",
    "read_labels",
]

_HOMES = {
    "Artifact": "ifseg_rt.artifact.sidecar",
    "IfsegError": "ifseg_rt.errors",
    "Observer": "ifseg_rt.stream.observer",
    "Result": "ifseg_rt.result",
    "Segmenter": "ifseg_rt.segmenter",
    "SourceSettings": "ifseg_rt.sources.settings",
    "StreamPolicy": "ifseg_rt.stream.policy",
    "read_artifact": "ifseg_rt.artifact.sidecar",
    "read_label_video": "ifseg_rt.sinks.label_video",
    "read_labels": "ifseg_rt.sinks.palette",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401  (module attributes have any type)
    if name == "__version__":
        value: Any = import_module("ifseg_rt.version").installed_version()
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
