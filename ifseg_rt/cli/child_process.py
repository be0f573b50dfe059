"""Runs a module of the training side in a process of its own and passes on what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from ifseg_rt import errors
from ifseg_rt.cli.console import Console
from ifseg_rt.errors import IfsegError

_GRACE = 10  # seconds an interrupted child gets to end by itself
_ERROR, _HINT = "error: ", "hint: "


def run_child(what: str, module: Sequence[str], root: Path, console: Console) -> None:
    """Run ``python -m MODULE ARGUMENTS...`` and pass on what it says on standard error, line by line.

    Args:
        what: what it does, for messages.
        module: the module and its arguments.
        root: the folder that holds the module's package; the child starts there, so that no file of the same name in
            the user's own folder is taken for it.
        console: takes the child's lines.

    Raises:
        IfsegError: the child failed; message, hint, class and exit code are the child's own where it gave any.
    """
    command = [sys.executable, "-m", *module]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    message: str | None = None
    hint: str | None = None
    last: deque[str] = deque(maxlen=1)
    with subprocess.Popen(
        command,
        cwd=root,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # its results: paths in a folder that is about to be renamed
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as child:
        try:
            for line in child.stderr or ():
                line = line.rstrip()
                if line.startswith(_ERROR):
                    message = line[len(_ERROR) :]
                elif line.startswith(_HINT):
                    hint = line[len(_HINT) :]
                elif line:
                    last.append(line)
                    console.note(f"    {line}")
            code = child.wait()
        except BaseException:
            _end(child)
            raise
    if code == 0:
        return
    if code == errors.INTERRUPTED_EXIT_CODE:
        raise KeyboardInterrupt
    if message is not None:
        raise _error_class(code)(message, hint=hint)
    if code < 0:
        raise IfsegError(f"{what} was ended by signal {-code}", hint="is there enough memory?" if code == -9 else None)
    said = f": {last[0].strip()}" if last else ""
    raise _error_class(code)(f"{what} failed with exit code {code}{said}", hint="run it alone: " + " ".join(command))


def _error_class(code: int) -> type[IfsegError]:
    return next((kind for kind in IfsegError.__subclasses__() if kind.exit_code == code), IfsegError)


def _end(child: subprocess.Popen[str]) -> None:
    # After Ctrl-C in a terminal the child got the signal as well and is already ending.
    child.terminate()
    try:
        child.wait(timeout=_GRACE)
    except subprocess.TimeoutExpired:
        child.kill()
