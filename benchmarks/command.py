"""What every benchmark command shares: how it fails, and the options of timings."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence

from ifseg_rt.cli import exit_codes
from ifseg_rt.cli.values import natural, positive


def run_command(parser: ArgumentParser, work: Callable[[Namespace], None], argv: Sequence[str] | None) -> int:
    """Parse, work, and turn the project's errors into one clear line and their exit code.

    ``--debug`` is added to the parser and lets the traceback through.
    """
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return exit_codes.run_command(lambda given: work(exit_codes.parse(parser, given)), argv)


def add_timing_options(parser: ArgumentParser) -> None:
    """Add the options that every timing shares: ``--frame --runs --warmup --seconds --threads``."""
    parser.add_argument("--frame", default="480x640", help="frame size, height x width")
    parser.add_argument("--runs", type=positive, default=30, help="timed frames")
    parser.add_argument("--warmup", type=natural, default=3, help="frames before the timing starts")
    parser.add_argument("--seconds", type=float, help="begin no frame after so many seconds, but time at least three")
    parser.add_argument("--threads", type=positive, help="threads of the run time (default: its own choice)")
