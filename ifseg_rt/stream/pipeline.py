"""A whole run: labelled frames to files, window and JSON lines, while the next ones are read and labelled."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Protocol

from ifseg_rt.errors import IfsegError
from ifseg_rt.sinks.base import Sink, SinkError
from ifseg_rt.sinks.jsonl import event_record, record
from ifseg_rt.sinks.outputs import Outputs
from ifseg_rt.sources.base import Event, Source
from ifseg_rt.sources.settings import SourceSettings
from ifseg_rt.stream.counts import Counts
from ifseg_rt.stream.items import Closed, FromStream, Happened, Labelled, Opened
from ifseg_rt.stream.labelling import LabelStream, raise_failed
from ifseg_rt.stream.observer import Observer
from ifseg_rt.stream.policy import StreamPolicy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ifseg_rt.result import Result


class Screen(Protocol):
    """Shows pictures; see :class:`ifseg_rt.sinks.window.Window`."""

    def show(self, picture: NDArray[np.uint8], caption: str) -> bool:
        """Show one picture; ``False`` once the user wants to stop."""


class Pipeline:
    """One run over all sources.

    Args:
        segment: labels one BGR frame; where it paints the frame too, that picture is taken, else one is made here.
        outputs: the files to write.
        lines: takes the record of every frame and every event.
        screen: shows every frame, if there is one.
        observer: is told how it goes.
        alpha: opacity of the colours over the frame, 0..1; the same as ``segment`` paints with.
        policy: what happens when frames come too fast, too late or not at all.
        settings: the time limits that the sources were made with.
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
        policy: StreamPolicy | None = None,
        settings: SourceSettings | None = None,
    ) -> None:
        self._segment = segment
        self._outputs = outputs
        self._lines = lines
        self._screen = screen
        self._observer = observer
        self._alpha = alpha
        self._policy = policy
        self._settings = settings
        self._open: dict[int, _Run] = {}
        self._failed: list[tuple[str, IfsegError]] = []
        self._unwritten: list[str] = []
        self._stream: LabelStream | None = None
        self._stopped = False

    def stop(self) -> None:
        """End the run soon: the frame in work is still written, all files are finished. From any thread or signal."""
        self._stopped = True
        if self._stream is not None:
            self._stream.drain()

    def run(self, sources: Sequence[Source]) -> None:
        """Work through the sources. One that fails is reported and the others still run; so is an output.

        Raises:
            SourceError: at the end, when a source failed.
            SinkError: at the end, when an output could not be written.
            DeviceError: at once; what was written until then is finished.
        """
        with closing(self._outputs), LabelStream(self._segment, sources, self._policy, self._settings) as stream:
            self._stream = stream
            if self._stopped:
                stream.drain()
            try:
                for item in stream:
                    self._take(item, len(sources))
            finally:
                for run in list(self._open.values()):
                    self._finish(run, complete=self._stopped and run.source.is_live)
        raise_failed(self._failed, len(sources))
        if self._outputs.failed is not None:
            self._unwritten.append(str(self._outputs.failed))
        if self._unwritten:
            failed = "1 output" if len(self._unwritten) == 1 else f"{len(self._unwritten)} outputs"
            raise SinkError(f"not everything was written: {failed} failed, see above")

    def _take(self, item: FromStream, sources: int) -> None:
        if isinstance(item, Opened):
            self._begin(item.source)
        elif isinstance(item, Labelled):
            self._write(self._open[id(item.source)], item)
        elif isinstance(item, Happened):
            run = self._open.get(id(item.source))
            if run is not None:
                run.counts.event(item.event)
            self._tell(item.source, item.event)
        else:
            self._end(item, sources)

    def _begin(self, source: Source) -> None:
        limit = None if source.is_still or self._policy is None else self._policy.max_frames
        total = min((count for count in (source.total, limit) if count is not None), default=None)
        run = _Run(source)
        self._open[id(source)] = run
        self._observer.source_opened(source, total)
        try:
            run.sink = self._outputs.open(source)
        except IfsegError as error:
            self._not_written(run, error)

    def _end(self, closed: Closed, sources: int) -> None:
        run = self._open.get(id(closed.source))
        if run is not None:
            self._finish(run, complete=closed.error is None)
        if closed.error is not None:
            self._failed.append((closed.source.name, closed.error))
            if sources > 1:
                self._observer.error(str(closed.error), closed.error.hint)
            if run is not None and closed.source.is_live:
                self._tell(closed.source, Event("failed", str(closed.error), {}), aloud=False)

    def _finish(self, run: _Run, *, complete: bool) -> None:
        del self._open[id(run.source)]
        try:
            if run.sink is not None:
                run.sink.close(complete=complete)
        except IfsegError as error:
            self._not_written(run, error)
        finally:
            self._observer.source_closed(run.source, run.counts)
        left_at = {} if run.sink is None else run.sink.left_at
        for named, real in left_at.items():
            text = f"what was written for {named} is in {real}"
            self._tell(run.source, Event("left_at", text, {"output": named, "partial": real}), aloud=False)

    def _write(self, run: _Run, labelled: Labelled) -> None:
        """Draw and write one labelled frame, and say so."""
        frame, result = labelled.frame, labelled.result
        stages = _stages(result.timings)
        painted_ms = stages.pop("overlay", 0.0)  # a part of drawing, whoever does it
        timings = {"read": labelled.read_ms, **stages}
        written: dict[str, str] = {}
        drawn: NDArray[np.uint8] | None = None
        if run.sink is not None or self._screen is not None:
            started = time.perf_counter()
            if self._screen is not None or (run.sink is not None and run.sink.draws):
                drawn = result.overlay(frame.image, self._alpha) if result.picture is None else result.picture
                result.draw_legend(drawn)
            timings["draw"] = painted_ms + (time.perf_counter() - started) * 1e3
            started = time.perf_counter()
            if run.sink is not None:
                try:
                    written = run.sink.write(frame, result, drawn)
                except SinkError as error:
                    written = dict(error.written)
                    self._not_written(run, error)
            timings["write"] = (time.perf_counter() - started) * 1e3
        timings["total"] = sum(timings.values())
        dropped = labelled.dropped if run.source.is_live else None
        fields = record(run.source, frame, result, timings, written, latency_ms=labelled.latency_ms, dropped=dropped)
        self._outputs.record(fields)
        self._lines(fields)
        run.counts.frame(labelled)
        self._observer.frame_done(labelled, timings)
        if self._screen is not None and drawn is not None:
            fps = run.counts.frames / max(time.monotonic() - run.began, 1e-9)
            if not self._screen.show(drawn, f"{run.source.name} - {fps:.1f} fps") and not self._stopped:
                self._observer.note("stopped in the window")
                self.stop()

    def _tell(self, source: Source, event: Event, *, aloud: bool = True) -> None:
        fields = event_record(source.name, event)
        self._outputs.record(fields)
        self._lines(fields)
        if aloud:
            self._observer.event(source, event)

    def _not_written(self, run: _Run, error: IfsegError) -> None:
        """An output failed: that is told once, and the run goes on without it."""
        if str(error) in run.told:  # a video that has failed refuses every further frame in the same words
            return
        run.told.add(str(error))
        self._unwritten.append(str(error))
        self._observer.error(str(error), error.hint)
        self._tell(run.source, Event("output_failed", str(error), {"reason": str(error)}), aloud=False)


class _Run:
    """What belongs to one source while it runs."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.sink: Sink | None = None
        self.counts = Counts()
        self.told: set[str] = set()
        self.began = time.monotonic()


def _stages(timings: Mapping[str, float]) -> dict[str, float]:
    """The stages of labelling, or the whole of it as one where nobody timed them."""
    stages = {stage: value for stage, value in timings.items() if stage != "total"}
    return stages or {"segment": timings["total"]}
