"""The one progress bar: of labelling, adaptation and benchmarks."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


def progress_bar(*details: str, stays: bool = False) -> Progress:
    """A bar on standard error with what is counted, how far it is, details and the time left; none without a terminal.

    Args:
        details: more columns, as rich formats them: ``"{task.fields[loss]:.3f}"``.
        stays: leave the bar where it is when done; otherwise it vanishes.
    """
    from rich.console import Console  # only where there is something to show: it takes a while to load
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False),  # file names may hold [brackets]
        BarColumn(),
        MofNCompleteColumn(),
        *(TextColumn(detail) for detail in details),
        TimeRemainingColumn(),
        console=console,
        transient=not stays,
        # Lines for a terminal go above the bar; for a file or a pipe they must stay untouched.
        redirect_stdout=sys.stdout.isatty(),
        disable=not console.is_terminal,
    )
