"""Shows what the builder is doing, and stops it when asked.

On a terminal nested bars on standard error, one per phase; elsewhere one line per outermost phase.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_LOG = logging.getLogger(__name__)
_DEEPEST_SHOWN = 4


class BuildProgress(Protocol):
    """What the builder's phases are told to. Called from the builder's own threads."""

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        """A phase of ``steps`` steps begins inside ``parent``."""

    def step(self, phase: str, step: int) -> None:
        """Step ``step`` of a phase is done."""

    def finish(self, phase: str) -> None:
        """A phase ended."""


class SilentProgress(nullcontext[None]):
    """Says nothing."""

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        """See :class:`BuildProgress`."""

    def step(self, phase: str, step: int) -> None:
        """See :class:`BuildProgress`."""

    def finish(self, phase: str) -> None:
        """See :class:`BuildProgress`."""


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
        """See :class:`BuildProgress`."""
        with self._lock:
            if parent is None and phase not in self._said:
                self._said.add(phase)
                self._say(f"{phase[:1].lower()}{phase[1:]} ({steps} steps) ...")

    def step(self, phase: str, step: int) -> None:
        """See :class:`BuildProgress`."""

    def finish(self, phase: str) -> None:
        """See :class:`BuildProgress`."""
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
        """See :class:`BuildProgress`."""
        with self._lock:
            depth = self._open[parent][1] + 1 if parent in self._open else 0
            visible = depth < _DEEPEST_SHOWN
            task = self._bars.add_task("  " * depth + phase, total=max(steps, 1), visible=visible)
            self._open[phase] = (task, depth)

    def step(self, phase: str, step: int) -> None:
        """See :class:`BuildProgress`."""
        with self._lock:
            if phase in self._open:
                self._bars.update(self._open[phase][0], completed=step + 1)

    def finish(self, phase: str) -> None:
        """See :class:`BuildProgress`."""
        with self._lock:
            task = self._open.pop(phase, None)
            if task is not None:
                self._bars.remove_task(task[0])


def make_progress(*, quiet: bool, say: Callable[[str], None]) -> BarProgress | LineProgress | SilentProgress:
    """The progress that fits: nothing when quiet, bars on a terminal, lines elsewhere."""
    if quiet:
        return SilentProgress()
    return BarProgress() if sys.stderr.isatty() else LineProgress(say)


def make_monitor(module: Any, progress: BuildProgress, cancelled: threading.Event) -> Any:  # noqa: ANN401
    """An ``IProgressMonitor`` of this TensorRT; it has to outlive the build.

    Once ``cancelled`` is set, the builder is told to stop at its next step.
    """

    class Monitor(module.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            module.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            _shown(progress.start, phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            _shown(progress.step, phase_name, step)
            return not cancelled.is_set()

        def phase_finish(self, phase_name: str) -> None:
            _shown(progress.finish, phase_name)

    return Monitor()


def _shown(call: Callable[..., None], *arguments: object) -> None:
    """An exception would have to travel through C++ and end the process; a display is not worth that."""
    try:
        call(*arguments)
    except Exception:
        _LOG.debug("progress was not shown", exc_info=True)
