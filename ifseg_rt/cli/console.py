"""What the command says on standard error while it works."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from ifseg_rt.sources.base import Source

_LINE_EVERY = 5.0  # seconds between progress lines where there is no terminal


class Console:
    """Messages and progress. ``quiet`` leaves only warnings and errors."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet

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

    def progress(self, source: Source, limit: int | None = None) -> SourceProgress:
        """Progress over one source, of which at most ``limit`` frames are taken; a picture only gets its summary."""
        return SourceProgress(self, source, limit)

    def _line(self, text: str) -> None:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


class SourceProgress:
    """Counts frames and times; a live bar on a terminal, a line every five seconds elsewhere."""

    def __init__(self, console: Console, source: Source, limit: int | None) -> None:
        self._talk = console
        self._source = source
        self._total = min((n for n in (source.total, limit) if n is not None), default=None)
        self._stages: dict[str, list[float]] = {}
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._started = self._last_line = time.monotonic()
        self.frames = 0

    @property
    def fps(self) -> float:
        """Frames per second since the start, everything included."""
        return self.frames / max(time.monotonic() - self._started, 1e-9)

    def advance(self, timings: Mapping[str, float]) -> None:
        """One frame is done; ``timings`` in milliseconds by stage."""
        self.frames += 1
        for stage, value in timings.items():
            self._stages.setdefault(stage, []).append(value)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self.frames, speed=self._speed())
            return
        now = time.monotonic()
        if self._source.kind != "picture" and now - self._last_line >= _LINE_EVERY:
            self._last_line = now
            total = f"/{self._total}" if self._total else ""
            self._talk.note(f"{self._source.name}: frame {self.frames}{total}, {self._speed()}")

    def __enter__(self) -> SourceProgress:
        if self._source.kind != "picture" and not self._talk.quiet and sys.stderr.isatty():
            self._start_bar()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self.frames:
            self._talk.note(self._summary())

    def _start_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}", markup=False),  # file names may hold [brackets]
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            # JSON lines for a terminal go above the bar; for a file or a pipe they must stay untouched.
            redirect_stdout=sys.stdout.isatty(),
        )
        self._task = self._bar.add_task(self._source.name, total=self._total, speed="")
        self._bar.start()

    def _speed(self) -> str:
        dropped = f", {self._source.dropped} dropped" if self._source.kind == "camera" else ""
        return f"{self.fps:.1f} fps{dropped}"

    def _summary(self) -> str:
        medians = ", ".join(f"{stage} {statistics.median(values):.0f}" for stage, values in self._stages.items())
        if self._source.kind == "picture":
            return f"{self._source.name}: ms: {medians}"
        return f"{self._source.name}: {self.frames} frames, {self._speed()}; median ms: {medians}"
