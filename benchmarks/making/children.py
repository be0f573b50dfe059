"""Runs every measurement in a process of its own, and says in one line why one failed.

Two run times in one process fight over its threads, and a GPU library that crashes takes its process along: neither may
touch the other measurements.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ifseg_rt.errors import IfsegError

_LONGEST_LINE = 300
_PARTING_SECONDS = 5.0
_RAISED = re.compile(r"^[\w.]*(?:Error|Exception|Interrupt|Exit)\b")


class MeasurementError(IfsegError):
    """A measurement that gave no result; the message is its own first line."""


def measure(module: str, arguments: Sequence[str], *, timeout: float | None = None) -> dict[str, Any]:
    """Run ``python -m module`` and return the JSON object that it prints last.

    Raises:
        MeasurementError: it failed, crashed, took too long or printed something else.
    """
    lines = run_child(module, arguments, timeout=timeout).strip().splitlines()
    try:
        record = json.loads(lines[-1])
    except (IndexError, json.JSONDecodeError):
        record = None
    if not isinstance(record, dict):
        raise MeasurementError(f"python -m {module} printed no result")
    return record


def run_child(module: str, arguments: Sequence[str], *, timeout: float | None = None) -> str:
    """Run ``python -m module`` and return its stdout.

    Raises:
        MeasurementError: it failed, crashed or took too long.
    """
    command = [sys.executable, "-m", module, *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, errors="replace"
    ) as child:
        try:
            stdout, stderr = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            child.kill()
            # Its own children (a compiler's workers) may hold its pipes open for ever.
            with suppress(subprocess.TimeoutExpired):
                child.communicate(timeout=_PARTING_SECONDS)
            raise MeasurementError(f"no result within {timeout:.0f} s") from None
        except BaseException:
            child.kill()
            raise
    if child.returncode:
        error = MeasurementError(reason(stderr, child.returncode))
        error.exit_code = child.returncode if child.returncode > 0 else 1
        raise error
    return stdout


def reason(stderr: str, code: int) -> str:
    """Return the one line that says why a process failed.

    Args:
        stderr: all it said.
        code: its exit code; negative for the signal that ended it.
    """
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    ours = [line for line in lines if line.startswith("error: ")]
    raised = [line for line in lines if _RAISED.match(line)]
    if ours:
        found = ours[0].removeprefix("error: ")
    elif code < 0:
        found = f"ended by {_signal_name(-code)}" + (f"; last words: {lines[-1]}" if lines else "")
    elif raised:
        found = raised[-1]
    else:
        found = lines[-1] if lines else f"exit code {code} without a word"
    return found[:_LONGEST_LINE]


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
