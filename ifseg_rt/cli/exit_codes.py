"""How every command ends: errors become one line, a hint and an exit code, and signals end it cleanly.

0 done, 1 a bug or a file that could not be written, 2 to 8 see :mod:`ifseg_rt.errors`; 130 Ctrl-C, 143 SIGTERM, 129
SIGHUP.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn

from ifseg_rt.cli.signals import SignalledError, received, signals_end_cleanly
from ifseg_rt.errors import INTERRUPTED_EXIT_CODE, IfsegError, UsageError
from ifseg_rt.native_noise import standard_descriptors


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments of a command; what is wrong with them is one line, not argparse's page of usage.

    Raises:
        UsageError: an argument is unknown, missing or has an impossible value.
        SystemExit: the help or the version was asked for and has been shown.
    """

    def refuse(message: str) -> NoReturn:
        raise UsageError(message, hint=f"{parser.prog} --help")

    parser.error = refuse  # type: ignore[method-assign]
    return parser.parse_args(arguments)


def run_command(work: Callable[[list[str]], None], arguments: Sequence[str] | None) -> int:
    """Do ``work`` with the arguments and return the exit code.

    Never raises for anything a user can meet, unless ``--debug`` is among the arguments: it shows the traceback.

    Args:
        work: parses the arguments (see :func:`parse`) and does what they ask for.
        arguments: without the program's name; ``None`` for those of this process.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments  # known before parsing, because parsing can fail too
    standard_descriptors()
    try:
        with signals_end_cleanly():
            work(arguments)
    except SystemExit as error:  # --help and --version
        return int(error.code or 0)
    except SignalledError as signalled:
        return _failed(signalled.word, None, signalled.exit_code)
    except KeyboardInterrupt:  # from a child's exit code
        return _failed("interrupted", None, INTERRUPTED_EXIT_CODE)
    except IfsegError as error:
        if (came := received()) is not None:
            return _failed(came.word, None, came.exit_code)
        if debug:
            raise
        return _failed(f"error: {error}", error.hint, error.exit_code)
    except Exception as error:
        if (came := received()) is not None:
            return _failed(came.word, None, came.exit_code)
        if debug:
            raise
        return _failed(
            f"error: unexpected {type(error).__name__}: {error}", "run it again with --debug for the traceback", 1
        )
    return 0


def _failed(message: str, hint: str | None, code: int) -> int:
    with suppress(OSError):  # a full disk or a reader that has gone: the exit code still tells
        sys.stderr.write(message + "\n" + ("" if hint is None else f"hint: {hint}\n"))
        sys.stderr.flush()
    return code
