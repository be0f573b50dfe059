"""What a command says on standard error while it works: messages, progress, and what the package logs."""

from __future__ import annotations

import logging
import statistics
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ifseg_rt.cli.progress_bar import progress_bar
from ifseg_rt.stream.observer import Observer

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from ifseg_rt.result import Result
    from ifseg_rt.sources.base import Frame, Source

_LINE_EVERY = 5.0  # seconds between progress lines where there is no terminal


class Console(Observer):
    """Messages and progress. ``quiet`` leaves only warnings and errors."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self._progress: _SourceProgress | None = None

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
        self._progress = _SourceProgress(self, source, total)

    def frame_done(self, source: Source, frame: Frame, result: Result, timings: Mapping[str, float]) -> None:
        """See :class:`ifseg_rt.stream.observer.Observer`."""
        if self._progress is not None:
            self._progress.advance(timings)

    def source_closed(self, source: Source) -> None:
        """See :class:`ifseg_rt.stream.observer.Observer`."""
        if self._progress is not None:
            self._progress.close()
            self._progress = None

    def _line(self, text: str) -> None:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


class _SourceProgress:
    """Counts frames and times; a live bar on a terminal, a line every five seconds elsewhere."""

    def __init__(self, console: Console, source: Source, total: int | None) -> None:
        self._console = console
        self._source = source
        self._total = total
        self._stages: dict[str, list[float]] = {}
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._started = self._last_line = time.monotonic()
        self._frames = 0
        if not (source.is_still or console.quiet) and sys.stderr.isatty():
            self._start_bar()

    def advance(self, timings: Mapping[str, float]) -> None:
        """One frame is done; ``timings`` in milliseconds by stage."""
        self._frames += 1
        for stage, value in timings.items():
            self._stages.setdefault(stage, []).append(value)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._frames, speed=self._speed())
            return
        now = time.monotonic()
        if not self._source.is_still and now - self._last_line >= _LINE_EVERY:
            self._last_line = now
            total = f"/{self._total}" if self._total else ""
            self._console.note(f"{self._source.name}: frame {self._frames}{total}, {self._speed()}")

    def close(self) -> None:
        """Take the bar away and sum up."""
        if self._bar is not None:
            self._bar.stop()
        if self._frames:
            self._console.note(self._summary())

    def _start_bar(self) -> None:
        self._bar = progress_bar("{task.fields[speed]}")
        self._task = self._bar.add_task(self._source.name, total=self._total, speed="")
        self._bar.start()

    def _speed(self) -> str:
        dropped = f", {self._source.dropped} dropped" if self._source.is_live else ""
        fps = self._frames / max(time.monotonic() - self._started, 1e-9)  # everything included
        return f"{fps:.1f} fps{dropped}"

    def _summary(self) -> str:
        medians = ", ".join(f"{stage} {statistics.median(values):.0f}" for stage, values in self._stages.items())
        if self._source.is_still:
            return f"{self._source.name}: ms: {medians}"
        return f"{self._source.name}: {self._frames} frames, {self._speed()}; median ms: {medians}"


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
