"""Times the image-free adaptation on a GPU, whole or from some of its steps; prints one JSON object."""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from benchmarks.command import run_command
from ifseg_rt.cli.values import natural, positive

if TYPE_CHECKING:
    from train.adaptation.loop import Progress


class _EnoughError(Exception):
    """The steps that were to be timed are done."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = ArgumentParser(
        prog="python -m benchmarks.gpu.processes.adaptation",
        description=__doc__,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", help="ckpt.pt")
    parser.add_argument("--steps", type=positive, default=2000, help="steps of the whole adaptation")
    parser.add_argument("--batch-size", type=positive, default=16, help="artificial images per step")
    parser.add_argument("--timed", type=positive, default=50, help="steps that are timed, unless --full")
    parser.add_argument("--warmup", type=natural, default=10, help="steps before")
    parser.add_argument("--full", action="store_true", help="run all steps")
    parser.add_argument("--device", default="cuda", help="cpu is for trying it out")
    return run_command(parser, _time, argv)


def _time(options: Namespace) -> None:
    from benchmarks.speed.timing import summary
    from train import load_model
    from train.adaptation.loop import Adaptation, AdaptationConfig

    model = load_model(options.checkpoint, device=options.device)
    adaptation = Adaptation(model, AdaptationConfig(steps=options.steps, batch_size=options.batch_size))
    marks: list[float] = []

    def on_update(progress: Progress) -> None:
        # The loss was fetched from the device for this call: the step is done.
        marks.append(time.perf_counter())
        if not options.full and progress.step >= options.warmup + options.timed:
            raise _EnoughError

    beginning = time.perf_counter()
    try:
        adaptation.run(on_update)
    except _EnoughError:
        whole = None
    else:
        whole = time.perf_counter() - beginning
    steps = [1e3 * (after - before) for before, after in pairwise(marks)][options.warmup :]
    timed = summary(steps or [1e3 * (marks[0] - beginning)])
    record = {
        "steps": options.steps,
        "batch_size": options.batch_size,
        "steps_timed": options.steps if whole is not None else len(steps),
        "step_ms": timed,
        "seconds": round(whole if whole is not None else options.steps * timed["median"] / 1e3, 1),
        "loss": adaptation.loss,
    }
    sys.stdout.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    sys.exit(main())
