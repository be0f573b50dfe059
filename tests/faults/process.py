"""Runs the real command in a hostile place: limits, closed or full streams, signals, another user."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

PATIENCE = 60.0  # seconds: longer is a hang
_LIBC = ctypes.CDLL(None)
_DROP_FROM_BOUNDING_SET = 24  # PR_CAPBSET_DROP
_ABOVE_PERMISSIONS = (1, 2, 3)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        code: the exit code as a shell shows it (128 + number where a signal killed it); ``None`` after a hang.
        lines: what it wrote to standard output; ``None`` where that was not kept.
        messages: what it wrote to standard error; ``None`` where that was not kept.
        seconds: how long it ran.
        signalled: seconds from its start to the first signal it was sent; ``None`` without.
    """

    code: int | None
    lines: bytes | None
    messages: bytes | None
    seconds: float
    signalled: float | None = None


@dataclass(frozen=True)
class Place:
    """Where and how a command runs.

    Attributes:
        stdin, stdout, stderr: ``"kept"`` (stdin: empty), ``"closed"``, ``"full"`` (``/dev/full``), ``"null"``, and for
            stdout ``"head"``: a pipe whose reader goes away after the first line.
        file_limit: bytes a file may have, as ``ulimit -f`` sets it.
        unprivileged: without the powers of root, so that permissions count for it too.
        signals: (seconds after the command has set up its handlers, number), in order.
        early: count the seconds of ``signals`` from the start of the process instead.
        act: called with the running process in a thread of its own: restarts servers and the like.
        stdin_data: fed to standard input.
    """

    stdin: str = "null"
    stdout: str = "kept"
    stderr: str = "kept"
    file_limit: int | None = None
    unprivileged: bool = False
    signals: tuple[tuple[float, int], ...] = ()
    early: bool = False
    act: Callable[[subprocess.Popen[bytes]], None] | None = None
    stdin_data: bytes | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


def run_command(arguments: Sequence[str | bytes], folder: Path, checkout: Path, place: Place) -> Outcome:
    """Run ``python -m ifseg_rt ARGUMENTS`` of ``checkout`` in ``folder``."""
    command: list[str | bytes] = [sys.executable, "-m", "ifseg_rt", *arguments]
    began = time.monotonic()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment(checkout, folder, place.environment),
        stdin=subprocess.PIPE if place.stdin_data is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: _prepare(place),
        start_new_session=True,
    )
    signalled: list[float] = []
    read: dict[str, bytes] = {}
    helpers = [
        threading.Thread(target=_send, args=(process, place, began, signalled)),
        threading.Thread(target=_read_lines, args=(process.stdout, read, place.stdout == "head")),
        threading.Thread(target=lambda: read.update(messages=_all_of(process.stderr))),
    ]
    if place.act is not None:
        helpers.append(threading.Thread(target=place.act, args=(process,)))
    if place.stdin_data is not None:
        helpers.append(threading.Thread(target=_feed, args=(process, place.stdin_data)))
    for helper in helpers:
        helper.daemon = True
        helper.start()
    code: int | None
    try:
        code = process.wait(timeout=PATIENCE)
        code = 128 - code if code < 0 else code
    except subprocess.TimeoutExpired:
        code = None
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    seconds = time.monotonic() - began
    for helper in helpers:
        helper.join(timeout=5)
    return Outcome(
        code,
        read.get("lines") if place.stdout == "kept" else None,
        read.get("messages") if place.stderr == "kept" else None,
        seconds,
        signalled[0] if signalled else None,
    )


def environment(checkout: Path, folder: Path, more: Mapping[str, str]) -> dict[str, str]:
    """The environment of the command: this checkout, one thread, no proxies, a cache of its own."""
    own = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    own |= {
        "PYTHONPATH": str(checkout),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "XDG_CACHE_HOME": str(folder / ".cache"),
    }
    own.pop("DISPLAY", None)
    return own | dict(more)


def _prepare(place: Place) -> None:
    if place.file_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (place.file_limit, place.file_limit))
    for number, kind in enumerate((place.stdin, place.stdout, place.stderr)):
        if kind == "closed":
            os.close(number)
        elif kind == "full":
            full = os.open("/dev/full", os.O_RDWR)
            os.dup2(full, number)
            os.close(full)
    if place.unprivileged and os.geteuid() == 0:
        for capability in _ABOVE_PERMISSIONS:
            _LIBC.prctl(_DROP_FROM_BOUNDING_SET, capability, 0, 0, 0)


def _send(process: subprocess.Popen[bytes], place: Place, began: float, signalled: list[float]) -> None:
    if not place.signals:
        return
    while not place.early and process.poll() is None and not _catches_sigterm(process.pid):
        time.sleep(0.005)
    for delay, number in place.signals:
        time.sleep(delay)
        if process.poll() is not None:
            return
        signalled.append(time.monotonic() - began)
        process.send_signal(number)


def _catches_sigterm(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
    caught = next((line for line in status.splitlines() if line.startswith("SigCgt:")), "SigCgt: 0")
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


def _all_of(pipe: IO[bytes] | None) -> bytes:
    if pipe is None:
        return b""
    with pipe:
        return pipe.read()


def _read_lines(pipe: IO[bytes] | None, read: dict[str, bytes], one_only: bool) -> None:
    if one_only and pipe is not None:
        with pipe:
            pipe.readline()
    else:
        read["lines"] = _all_of(pipe)


def _feed(process: subprocess.Popen[bytes], data: bytes) -> None:
    if process.stdin is None:
        return
    try:
        process.stdin.write(data)
        process.stdin.close()
    except OSError:
        process.stdin = None  # it went away without reading everything


def quiet_end(process: subprocess.Popen[str]) -> None:
    """End a server that was started for a test."""
    process.kill()
    process.wait()
