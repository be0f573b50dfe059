"""Frames from the sources, through the segmenter, to files, window and JSON lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from ifseg_rt.errors import SourceError
from ifseg_rt.sinks.base import Sink
from ifseg_rt.sinks.jsonl import record
from ifseg_rt.sinks.outputs import Outputs
from ifseg_rt.sources.base import Frame, Source
from ifseg_rt.stream.observer import Observer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ifseg_rt.result import Result


class Screen(Protocol):
    """Shows pictures; see :class:`ifseg_rt.sinks.window.Window`."""

    def show(self, picture: NDArray[np.uint8], caption: str) -> bool:
        """Show one picture; ``False`` once the user wants to stop."""


class _StopRequestedError(Exception):
    """The user closed the window."""


class Pipeline:
    """One run over all sources.

    Args:
        segment: labels one BGR frame; where it paints the frame too, that picture is taken, else one is made here.
        outputs: the files to write.
        lines: takes the record of every frame.
        screen: shows every frame, if there is one.
        observer: is told how it goes.
        alpha: opacity of the colours over the frame, 0..1; the same as ``segment`` paints with.
        max_frames: stop every video and camera after so many frames.
    """

    def __init__(
        self,
        segment: Callable[[NDArray[np.uint8]], Result],
        outputs: Outputs,
        lines: Callable[[Mapping[str, Any]], None],
        screen: Screen | None,
        observer: Observer,
        *,
        alpha: float = 0.5,
        max_frames: int | None = None,
    ) -> None:
        self._segment = segment
        self._outputs = outputs
        self._lines = lines
        self._screen = screen
        self._observer = observer
        self._alpha = alpha
        self._max_frames = max_frames

    def run(self, sources: Sequence[Source]) -> None:
        """Work through the sources. A source that fails is reported and skipped; the others still run.

        Raises:
            SourceError: at the end, when a source failed; at once, when it was the only one.
        """
        failed: list[str] = []
        with closing(self._outputs):
            for source in sources:
                try:
                    self._run_one(source)
                except SourceError as error:
                    if len(sources) == 1:
                        raise
                    failed.append(source.name)
                    self._observer.error(str(error), error.hint)
                except _StopRequestedError:
                    self._observer.note("stopped in the window")
                    break
        if failed:
            named = ", ".join(failed[:3]) + (", ..." if len(failed) > 3 else "")
            raise SourceError(f"{len(failed)} of {len(sources)} sources failed: {named}")

    def _run_one(self, source: Source) -> None:
        with ExitStack() as stack:
            stack.enter_context(closing(source))
            source.open()
            limit = None if source.is_still else self._max_frames
            total = min((count for count in (source.total, limit) if count is not None), default=None)
            self._observer.source_opened(source, total)
            stack.callback(self._observer.source_closed, source)
            sink = self._outputs.open(source)
            if sink is not None:
                stack.enter_context(closing(sink))
            frames = islice(source.frames(), limit)
            began, done, dropped = time.monotonic(), 0, 0
            while True:
                started = time.perf_counter()
                frame = next(frames, None)
                if frame is None:
                    break
                drawn = self._handle(source, frame, sink, (time.perf_counter() - started) * 1e3)
                done += 1
                if source.dropped > dropped:
                    self._observer.frames_dropped(source, source.dropped - dropped)
                    dropped = source.dropped
                if self._screen is not None and drawn is not None:
                    fps = done / max(time.monotonic() - began, 1e-9)
                    if not self._screen.show(drawn, f"{source.name} - {fps:.1f} fps"):
                        raise _StopRequestedError

    def _handle(self, source: Source, frame: Frame, sink: Sink | None, read_ms: float) -> NDArray[np.uint8] | None:
        """Label and write one frame; gives the drawn picture, where there is use for one."""
        result = self._segment(frame.image)
        stages = _stages(result.timings)
        painted_ms = stages.pop("overlay", 0.0)  # a part of drawing, whoever does it
        timings = {"read": read_ms, **stages}
        written: dict[str, str] = {}
        drawn: NDArray[np.uint8] | None = None
        if sink is not None or self._screen is not None:
            started = time.perf_counter()
            drawn = result.overlay(frame.image, self._alpha) if result.picture is None else result.picture
            result.draw_legend(drawn)
            timings["draw"] = painted_ms + (time.perf_counter() - started) * 1e3
            started = time.perf_counter()
            if sink is not None:
                written = sink.write(frame, result, drawn)
            timings["write"] = (time.perf_counter() - started) * 1e3
        timings["total"] = sum(timings.values())
        fields = record(source, frame, result, timings, written)
        self._outputs.note(fields)
        self._lines(fields)
        self._observer.frame_done(source, frame, result, timings)
        return drawn


def _stages(timings: Mapping[str, float]) -> dict[str, float]:
    """The stages of labelling, or the whole of it as one where nobody timed them."""
    stages = {stage: value for stage, value in timings.items() if stage != "total"}
    return stages or {"segment": timings["total"]}
