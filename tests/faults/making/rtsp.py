"""An RTSP server as a process of its own, where the system's Python has GStreamer's bindings."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from functools import cache
from pathlib import Path

_PROGRAM = Path(__file__).resolve().parents[2] / "servers" / "rtsp_server.py"
_PYTHONS = ("/usr/bin/python3", "python3")
_ESTABLISHED = "01"
_PROBE = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"


@cache
def python_with_gstreamer() -> str | None:
    """Return a Python that can serve RTSP, or ``None``."""
    for name in _PYTHONS:
        python = shutil.which(name)
        if python is not None:
            done = subprocess.run([python, "-c", _PROBE], capture_output=True, check=False)
            if done.returncode == 0 and _PROGRAM.is_file():
                return python
    return None


class RtspServer:
    """Serves a moving pattern at 25 frames per second; may be killed, frozen and started again.

    Args:
        python: from :func:`python_with_gstreamer`.
    """

    def __init__(self, python: str) -> None:
        self._python = python
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    @property
    def address(self) -> str:
        """Where it is found."""
        return f"rtsp://127.0.0.1:{self.port}/cam"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [self._python, str(_PROGRAM), str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if self._process.stdout is None or b"ready" not in self._process.stdout.readline():
            raise RuntimeError("the RTSP server did not start")

    def wait_for_viewer(self, seconds: float) -> None:
        """Wait until somebody is connected and has had time for a few frames, at most so long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self._has_viewer():
            time.sleep(0.05)
        time.sleep(1.0)

    def _has_viewer(self) -> bool:
        rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
        return any(row[1].endswith(f":{self.port:04X}") and row[3] == _ESTABLISHED for row in rows)

    def kill(self, *, abruptly: bool = True) -> None:
        """End it at once; there is no other way."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stop the process; connections stay."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def rewind(self) -> None:
        """A pattern has no end."""

    def _signal(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
