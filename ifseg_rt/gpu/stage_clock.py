"""Times of the stages of one frame on the GPU, from CUDA events; only when asked, since events are not free."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ifseg_rt.gpu.device import Gpu


class StageClock:
    """Marks the ends of stages in a stream.

    Args:
        gpu: where the stages run.
        enabled: ``False`` makes every mark free and every reading empty.
    """

    def __init__(self, gpu: Gpu, *, enabled: bool) -> None:
        self._gpu = gpu
        self._enabled = enabled
        self._marks: list[tuple[str, Any]] = []

    def start(self) -> None:
        """Begin a frame."""
        self._marks.clear()
        self.mark("start")

    def mark(self, stage: str) -> None:
        """Everything enqueued since the mark before belongs to ``stage``."""
        if self._enabled:
            self._marks.append((stage, self._gpu.mark()))

    def read(self) -> dict[str, float]:
        """Milliseconds of every stage; the stream must have passed all marks."""
        pairs = zip(self._marks, self._marks[1:], strict=False)
        return {stage: self._gpu.milliseconds(before, mark) for (_, before), (stage, mark) in pairs}
