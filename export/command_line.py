"""What the commands of this package have in common: errors become exit codes, SIGTERM ends them cleanly."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from importlib import util
from types import FrameType
from typing import NoReturn

from ifseg_rt.errors import INTERRUPTED_EXIT_CODE, ExportError, IfsegError, UsageError

_NEEDED = ("torch", "onnx", "onnxscript", "onnxruntime")


class CommandParser(argparse.ArgumentParser):
    """Raises what cannot be parsed instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        """See :meth:`argparse.ArgumentParser.error`.

        Raises:
            UsageError: always.
        """
        raise UsageError(message, hint=f"{self.prog} --help")


class TerminatedError(KeyboardInterrupt):
    """The process was asked to end with SIGTERM."""


def require_packages() -> None:
    """Refuses to begin an export that cannot end.

    Raises:
        ExportError: a package is not installed.
    """
    missing = [name for name in _NEEDED if util.find_spec(name) is None]
    if missing:
        # The GPU's ONNX Runtime, where it is installed, must not be overwritten by the CPU's.
        extras = "cpu,export,train" if "onnxruntime" in missing else "export,train"
        raise ExportError(f"an export needs: {', '.join(missing)}", hint=f'pip install "ifseg-rt[{extras}]"')


def run_command(work: Callable[[], None], *, debug: bool) -> int:
    """Does ``work`` and returns the exit code; never raises for anything a user can meet, unless ``debug``."""
    try:
        _end_cleanly_on_sigterm()
        work()
    except SystemExit as error:  # --help
        return int(error.code or 0)
    except TerminatedError:
        return _failed("terminated", None, 128 + signal.SIGTERM)
    except KeyboardInterrupt:
        return _failed("interrupted", None, INTERRUPTED_EXIT_CODE)
    except IfsegError as error:
        if debug:
            raise
        return _failed(f"error: {error}", error.hint, error.exit_code)
    except Exception as error:
        if debug:
            raise
        return _failed(
            f"error: unexpected {type(error).__name__}: {error}", "run it again with --debug for the traceback", 1
        )
    return 0


def _failed(message: str, hint: str | None, code: int) -> int:
    sys.stderr.write(message + "\n")
    if hint is not None:
        sys.stderr.write(f"hint: {hint}\n")
    return code


def _end_cleanly_on_sigterm() -> None:
    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise TerminatedError

    try:
        signal.signal(signal.SIGTERM, end)  # otherwise half-written files would stay
    except ValueError:
        return  # not the main thread: the caller owns the signals
