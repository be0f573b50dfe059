"""What a command says on standard error while it works: messages, progress, and what the package logs."""

from __future__ import annotations

import logging
import statistics
import sys
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from ifseg_rt.cli.progress_bar import progress_bar
from ifseg_rt.stream.observer import Observer

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from ifseg_rt.sources.base import Event, Source
    from ifseg_rt.stream.counts import Counts
    from ifseg_rt.stream.items import Labelled

_LINE_EVERY = 5.0  # seconds between progress lines where there is no terminal
_REMEMBERED = 1000  # times of each stage; a camera may run for weeks
_DAMAGE_NAMED = 3  # damaged frames told one by one


class Console(Observer):
    """Messages and progress. ``quiet`` leaves only warnings and errors."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self._progress: dict[int, _SourceProgress] = {}

    def note(self, text: str) -> None:
        """Something worth knowing."""
        if not self.quiet:
            self._line(text)

    def warn(self, text: str) -> None:
        """Something that went otherwise than asked."""
        self._line(f"warning: {text}")

    def error(self, text: str, hint: str | None = None) -> None:
        """Something that failed."""
        self._line(f"error: {text}")
        if hint is not None:
            self._line(f"hint: {hint}")

    def source_opened(self, source: Source, total: int | None) -> None:
        """See :class:`ifseg_rt.stream.observer.Observer`. A picture only gets its summary."""
        self._progress[id(source)] = _SourceProgress(self, source, total)

    def frame_done(self, labelled: Labelled, timings: Mapping[str, float]) -> None:
        """See :class:`ifseg_rt.stream.observer.Observer`."""
        self._progress[id(labelled.source)].advance(labelled, timings)

    def event(self, source: Source, event: Event) -> None:
        """See :class:`ifseg_rt.stream.observer.Observer`. Damaged frames come in heaps: the first ones are named."""
        progress = self._progress.get(id(source))
        if event.kind == "corrupt":
            named = 0 if progress is None else progress.damage_told
            if named < _DAMAGE_NAMED:
                self.warn(event.text)
            elif named == _DAMAGE_NAMED:
                self.warn(f"{source.name}: more damaged frames; they are counted at the end")
            if progress is not None:
                progress.damage_told += 1
        elif event.kind in ("lost", "waiting"):
            self.warn(event.text)
        else:
            self.note(event.text)

    def source_closed(self, source: Source, counts: Counts) -> None:
        """See :class:`ifseg_rt.stream.observer.Observer`."""
        progress = self._progress.pop(id(source), None)
        if progress is not None:
            progress.close(counts)

    def _line(self, text: str) -> None:
        with suppress(OSError):  # a full disk, or a reader that has gone: the work itself must not stop for it
            sys.stderr.write(text + "\n")
            sys.stderr.flush()


class _SourceProgress:
    """Counts frames and times; a live bar on a terminal, a line every five seconds elsewhere."""

    def __init__(self, console: Console, source: Source, total: int | None) -> None:
        self._console = console
        self._source = source
        self._total = total
        self._stages: dict[str, deque[float]] = {}
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._started = self._last_line = time.monotonic()
        self._frames = 0
        self._dropped = 0
        self.damage_told = 0
        if not (source.is_still or console.quiet) and sys.stderr.isatty():
            self._start_bar()

    def advance(self, labelled: Labelled, timings: Mapping[str, float]) -> None:
        """One frame is done; ``timings`` in milliseconds by stage."""
        self._frames += 1
        self._dropped = sum(labelled.dropped.values())
        for stage, value in timings.items():
            self._stages.setdefault(stage, deque(maxlen=_REMEMBERED)).append(value)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._frames, speed=self._speed())
            return
        now = time.monotonic()
        if not self._source.is_still and now - self._last_line >= _LINE_EVERY:
            self._last_line = now
            total = f"/{self._total}" if self._total else ""
            self._console.note(f"{self._source.name}: frame {self._frames}{total}, {self._speed()}")

    def close(self, counts: Counts) -> None:
        """Take the bar away and sum up."""
        if self._bar is not None:
            self._bar.stop()
        if self._frames:
            self._console.note(self._summary(counts))
        if counts.damaged or counts.skipped:
            kept = f", {counts.damaged} of them kept and marked" if counts.damaged else ""
            self._console.warn(f"{self._source.name}: {counts.damaged + counts.skipped} damaged frames{kept}")

    def _start_bar(self) -> None:
        self._bar = progress_bar("{task.fields[speed]}")
        self._task = self._bar.add_task(self._source.name, total=self._total, speed="")
        self._bar.start()

    def _speed(self) -> str:
        dropped = f", {self._dropped} dropped" if self._source.is_live else ""
        fps = self._frames / max(time.monotonic() - self._started, 1e-9)  # everything included
        return f"{fps:.1f} fps{dropped}"

    def _summary(self, counts: Counts) -> str:
        medians = ", ".join(f"{stage} {statistics.median(values):.0f}" for stage, values in self._stages.items())
        if self._source.is_still:
            return f"{self._source.name}: ms: {medians}"
        said = f"{self._source.name}: {self._frames} frames, {self._speed()}; median ms: {medians}"
        if not self._source.is_live:
            return said
        causes = ", ".join(f"{count} {cause}" for cause, count in counts.dropped.items() if count)
        lost = f"; lost {counts.events['lost']} times" if counts.events["lost"] else ""
        latency = counts.latency_ms
        late = f"; capture to labels: median {latency[0]:.0f} ms, p95 {latency[1]:.0f} ms" if latency else ""
        return said + (f"; dropped: {causes}" if causes else "") + lost + late


class _ConsoleHandler(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            self._console.warn(record.getMessage())
        else:
            self._console.note(f"{record.name}: {record.getMessage()}")


def log_to(console: Console, *, debug: bool) -> None:
    """Show what the package logs: warnings always, everything with ``debug``."""
    logger = logging.getLogger("ifseg_rt")
    for handler in [handler for handler in logger.handlers if isinstance(handler, _ConsoleHandler)]:
        logger.removeHandler(handler)
    logger.addHandler(_ConsoleHandler(console))
    logger.setLevel(logging.DEBUG if debug else logging.WARNING)
