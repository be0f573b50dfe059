"""Entry point of the ``ifseg-rt`` command."""

from __future__ import annotations

from collections.abc import Sequence

from ifseg_rt.cli.arguments import REBUILD, make_parser, make_rebuild_parser
from ifseg_rt.cli.exit_codes import parse, run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; never raises for anything a user can meet."""
    return run_command(_run, arguments)


def _run(arguments: list[str]) -> None:
    if arguments[:1] == [REBUILD]:
        _rebuild(arguments[1:])
        return
    options = parse(make_parser(), arguments)
    from ifseg_rt.cli.run import run  # only now: the help should appear at once

    run(options)


def _rebuild(arguments: Sequence[str]) -> None:
    from ifseg_rt.cli.console import Console, log_to
    from ifseg_rt.cli.rebuild import add_arguments, run

    parser = make_rebuild_parser()
    add_arguments(parser)
    options = parse(parser, arguments)
    log_to(Console(quiet=options.quiet), debug=options.debug)
    run(options)
