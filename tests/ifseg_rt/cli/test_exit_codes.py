"""How every command ends: one module for all, so each way is tried here once."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Callable

import pytest

from ifseg_rt.cli.exit_codes import parse, run_command
from ifseg_rt.errors import ExportError


def raising(error: BaseException) -> Callable[[list[str]], None]:
    def work(_: list[str]) -> None:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ExportError("no room", hint="make room"), 6, "error: no room\nhint: make room\n"),
        (ExportError("no room"), 6, "error: no room\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (SystemExit(0), 0, ""),
        (
            ValueError("odd"),
            1,
            "error: unexpected ValueError: odd\nhint: run it again with --debug for the traceback\n",
        ),
    ],
)
def test_errors(capsys: pytest.CaptureFixture[str], error: BaseException, code: int, said: str) -> None:
    assert run_command(raising(error), []) == code
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("error", [ExportError("no room"), ValueError("odd")])
def test_debug_lets_errors_through(error: Exception) -> None:
    with pytest.raises(type(error)):
        run_command(raising(error), ["--debug"])


def test_sigterm_unwinds_and_the_handler_of_before_is_back(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    unwound = []

    def work(_: list[str]) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        finally:
            unwound.append(True)

    assert run_command(work, []) == 143
    assert (unwound, capsys.readouterr().err) == ([True], "terminated\n")
    assert signal.getsignal(signal.SIGTERM) == before


def test_wrong_arguments_are_one_line_and_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser(prog="some command")
    parser.add_argument("--count", type=int)
    assert run_command(lambda given: print(parse(parser, given)), ["--bogus"]) == 2
    assert capsys.readouterr().err == "error: unrecognized arguments: --bogus\nhint: some command --help\n"
    assert run_command(lambda given: print(parse(parser, given)), ["--count", "x"]) == 2
    assert capsys.readouterr().err.startswith("error: argument --count: invalid int value: 'x'\n")
