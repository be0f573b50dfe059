"""Progress of an adaptation on standard error: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ifseg_rt.cli.progress_bar import progress_bar

if TYPE_CHECKING:
    from train.adaptation.loop import Progress

_PLAIN_EVERY_S = 10.0


@contextmanager
def training_progress(steps: int, done: int, *, enabled: bool) -> Iterator[Callable[[Progress], None]]:
    """Yields what to call after every update."""
    if not enabled or steps == 0:
        yield lambda _: None
    elif sys.stderr.isatty():
        yield from _bar(steps, done)
    else:
        yield from _lines(done)


def _bar(steps: int, done: int) -> Iterator[Callable[[Progress], None]]:
    with progress_bar("loss {task.fields[loss]:.3f}", stays=True) as bar:
        task = bar.add_task("adapting", total=steps, completed=done, loss=float("nan"))
        yield lambda progress: bar.update(task, completed=progress.step, loss=progress.loss)


def _lines(done: int) -> Iterator[Callable[[Progress], None]]:
    start = last = time.monotonic()

    def show(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _PLAIN_EVERY_S and progress.step != progress.steps:
            return
        last = now
        left = (now - start) / max(progress.step - done, 1) * (progress.steps - progress.step)
        done_of = f"{progress.step}/{progress.steps}"
        sys.stderr.write(f"adapting: step {done_of} loss {progress.loss:.3f} {left:.0f} s left\n")

    yield show
