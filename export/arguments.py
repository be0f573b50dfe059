"""What the commands of this package have in common: errors become exit codes, SIGTERM ends them cleanly."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from importlib import util
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from ifseg_rt.errors import INTERRUPTED_EXIT_CODE, ExportError, IfsegError, UsageError

if TYPE_CHECKING:
    from train.words.vocabulary import Vocabulary

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


def add_model_arguments(parser: argparse._ActionsContainer) -> None:
    """What may be said of a checkpoint's words and refinement, the same wherever one is exported."""
    names = parser.add_mutually_exclusive_group()
    names.add_argument("--categories", metavar="WORDS", help='other categories than the checkpoint\'s: "sky, road"')
    names.add_argument("--categories-file", type=Path, metavar="PATH", help="one per line: name, synonym #rrggbb")
    parser.add_argument("--tokenizer", type=Path, metavar="DIR", help="BPE files for an OFA without them beside it")
    parser.add_argument("--neighbours", type=int, metavar="K", help="of the refinement (default: 3)")
    parser.add_argument("--rounds", type=int, metavar="T", help="of the refinement (default: 25)")


def wanted_categories(options: argparse.Namespace) -> Vocabulary | None:
    """The categories in parsed arguments of :func:`add_model_arguments`; ``None`` for the checkpoint's own.

    Raises:
        VocabularyError: they are empty or duplicate, or the file cannot be read.
    """
    if options.categories is None and options.categories_file is None:
        return None
    from train.words.vocabulary import Vocabulary

    if options.categories_file is not None:
        return Vocabulary.from_file(options.categories_file)
    return Vocabulary.parse(options.categories)


def default_target(source: str, suffix: str) -> Path:
    """Beside a checkpoint file; in the current folder for ``micro``, a folder or a hub id."""
    path = Path(source)
    return path.with_suffix(suffix) if path.is_file() else Path(f"{path.name or 'model'}{suffix}")


def given(value: int | None, default: int) -> int:
    """An argument that was left out, and may be zero where it was not."""
    return default if value is None else value


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
