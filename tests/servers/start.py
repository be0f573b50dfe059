"""Starts the servers of this folder, and takes them away in the ways that real ones go."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = Path(__file__).with_name("rtsp_server.py")
_PYTHONS = (sys.executable, "/usr/bin/python3")  # the bindings of GStreamer usually live with the system's


def free_port() -> int:
    """Return a port of this machine that nobody uses just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RtspServer:
    """An RTSP server that can be killed, frozen and started again at the same address.

    Its frames carry what ``ifseg_rt.sources.pattern.read_stamp`` reads. Options are those of ``rtsp_server.py``.
    """

    def __init__(self, *options: str) -> None:
        self.port = free_port()
        self._options = options
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """The address, with credentials that no message may show; the server does not ask for them."""
        return f"rtsp://somebody:hush-hush@127.0.0.1:{self.port}/cam"

    def start(self) -> None:
        """Start it and wait until it answers; skips the test where it cannot run."""
        reason = "no Python was found"
        for python in _PYTHONS:
            if not Path(python).exists():
                continue
            process = subprocess.Popen(
                [python, str(_PROGRAM), str(self.port), *self._options],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            assert process.stdout is not None
            if process.stdout.readline().strip() == "ready":
                self._process = process
                return
            reason = (process.communicate()[1].strip().splitlines() or ["it ended"])[-1]
        pytest.skip(f"the RTSP server needs GStreamer's bindings for Python: {reason}")

    def kill(self) -> None:
        """Take it away at once, as a power cut does."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def freeze(self) -> None:
        """Let it fall silent without closing a connection, as a hung camera does."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
