"""What the segmenter needs from a way of working on frames: on the host (NumPy around a run time) or on the GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ifseg_rt.artifact.sidecar import Artifact
    from ifseg_rt.frames import ColorOrder
    from ifseg_rt.gpu.results.on_gpu import DeviceResult


@dataclass(frozen=True)
class Labelled:
    """What a path made of one frame.

    Attributes:
        labels: H x W, uint8 (uint16 above 255 categories).
        probabilities: C x h x w float32 on the patch grid.
        color: channel order of the frame.
        timings: milliseconds by stage, always with ``"total"``.
        confidence: H x W float32, where :class:`Extras` ask for it.
        picture: H x W x 3 uint8 in the frame's channel order, where :class:`Extras` ask for it.
    """

    labels: NDArray[np.uint8] | NDArray[np.uint16]
    probabilities: NDArray[np.float32]
    color: ColorOrder
    timings: Mapping[str, float] = field(default_factory=dict)
    confidence: NDArray[np.float32] | None = None
    picture: NDArray[np.uint8] | None = None


class Runner(Protocol):
    """From a frame to labels. Any number of threads may call it."""

    @property
    def device(self) -> str:
        """Where the network really runs: ``"cpu"``, ``"cuda"``, ``"tensorrt"`` or ``"tensorrt_rtx"``."""

    @property
    def gpu(self) -> int | None:
        """Number of the GPU that the network runs on, as CUDA counts them; ``None`` on the CPU."""

    @property
    def fallback_reason(self) -> str | None:
        """Why the work is not done where it would be fastest, or ``None``."""

    def run(self, frame: Any, color: ColorOrder) -> Labelled:  # noqa: ANN401
        """Label one frame; the result belongs to the caller for good.

        Raises:
            SourceError: the frame is empty, of another type or shape, or on a device this path cannot read.
            UsageError: the path is closed.
            DeviceError: the device failed.
        """

    def run_on_device(self, frame: Any, color: ColorOrder, stream: Any) -> DeviceResult:  # noqa: ANN401
        """Label one frame and leave the result on the GPU.

        Raises:
            UsageError: this path does not work on a GPU, or is closed.
            SourceError, DeviceError: as for :meth:`run`.
        """

    def close(self) -> None:
        """Wait for a running call and free the model. May be called again."""


@dataclass(frozen=True)
class Extras:
    """What is made of every frame besides labels and probabilities; what is not asked for costs nothing.

    Attributes:
        confidence: whether the up-sampled probability of each pixel's label is.
        overlay: opacity (0..1) of the category colours over the frame, or ``None`` for no picture.
    """

    confidence: bool = False
    overlay: float | None = None


@dataclass(frozen=True)
class Averaging:
    """The kNN averaging of one segmenter (spec 9).

    Attributes:
        settings: neighbours and rounds, or ``None`` to label from the raw logits (spec 8).
        baked: whether the graph's own ``probabilities`` output already is averaged like that.
    """

    settings: tuple[int, int] | None
    baked: bool

    @classmethod
    def of(cls, settings: tuple[int, int] | None, artifact: Artifact) -> Averaging:
        """The averaging with ``settings`` for this model."""
        own = (artifact.refinement.neighbours, artifact.refinement.rounds)
        return cls(settings, settings == own)
