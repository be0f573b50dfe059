"""What the segmenter needs from a way of working on frames: on the host (NumPy around a run time) or on the GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ifseg_rt.frames import ColorOrder
    from ifseg_rt.gpu.results.on_gpu import DeviceResult
    from ifseg_rt.result import Result


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

    def run(self, frame: Any, color: ColorOrder) -> Result:  # noqa: ANN401
        """Label one frame; the result belongs to the caller for good.

        Raises:
            SourceError: the frame is empty, of another type or shape, or on a device this runner cannot read.
            UsageError: the runner is closed.
            DeviceError: the device failed.
        """

    def run_on_device(self, frame: Any, color: ColorOrder, stream: Any) -> DeviceResult:  # noqa: ANN401
        """Label one frame and leave the result on the GPU.

        Raises:
            UsageError: this runner does not work on a GPU, or is closed.
            SourceError, DeviceError: as for :meth:`run`.
        """

    def close(self) -> None:
        """Wait for a running call and free the model. May be called again."""
