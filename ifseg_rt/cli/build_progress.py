"""Shows the building of an engine: nested bars on a terminal, one per phase; one line per outermost phase elsewhere."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext
from types import TracebackType
from typing import TYPE_CHECKING

from ifseg_rt.tensorrt.building.progress import SilentProgress

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_DEEPEST_SHOWN = 4


class LineProgress(nullcontext[None]):
    """One line per outermost phase.

    Args:
        say: takes the line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self._say = say
        self._lock = threading.Lock()
        self._said: set[str] = set()

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        """See :class:`~ifseg_rt.tensorrt.building.progress.BuildProgress`."""
        with self._lock:
            if parent is None and phase not in self._said:
                self._said.add(phase)
                self._say(f"{phase[:1].lower()}{phase[1:]} ({steps} steps) ...")

    def step(self, phase: str, step: int) -> None:
        """See :class:`~ifseg_rt.tensorrt.building.progress.BuildProgress`."""

    def finish(self, phase: str) -> None:
        """See :class:`~ifseg_rt.tensorrt.building.progress.BuildProgress`."""
        with self._lock:
            self._said.discard(phase)  # several engines may be built one after the other


class BarProgress:
    """Nested bars on standard error, gone when the build is done. A context manager."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._bars: Progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=sys.stdout.isatty(),
        )
        self._lock = threading.Lock()
        self._open: dict[str, tuple[TaskID, int]] = {}

    def __enter__(self) -> BarProgress:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        """See :class:`~ifseg_rt.tensorrt.building.progress.BuildProgress`."""
        with self._lock:
            depth = self._open[parent][1] + 1 if parent in self._open else 0
            visible = depth < _DEEPEST_SHOWN
            task = self._bars.add_task("  " * depth + phase, total=max(steps, 1), visible=visible)
            self._open[phase] = (task, depth)

    def step(self, phase: str, step: int) -> None:
        """See :class:`~ifseg_rt.tensorrt.building.progress.BuildProgress`."""
        with self._lock:
            if phase in self._open:
                self._bars.update(self._open[phase][0], completed=step + 1)

    def finish(self, phase: str) -> None:
        """See :class:`~ifseg_rt.tensorrt.building.progress.BuildProgress`."""
        with self._lock:
            task = self._open.pop(phase, None)
            if task is not None:
                self._bars.remove_task(task[0])


def make_progress(*, quiet: bool, say: Callable[[str], None]) -> BarProgress | LineProgress | SilentProgress:
    """The progress that fits: nothing when quiet, bars on a terminal, lines elsewhere."""
    if quiet:
        return SilentProgress()
    return BarProgress() if sys.stderr.isatty() else LineProgress(say)
