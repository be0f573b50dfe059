"""Passes on what the builder is doing, and stops it when asked."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Protocol

_LOG = logging.getLogger(__name__)


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
