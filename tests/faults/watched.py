"""A running command whose lines are read as they come, with what it holds: memory, descriptors, threads."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.making.live_server import LiveServer, make_live_clip
from tests.faults.making.rtsp import RtspServer, python_with_gstreamer
from tests.faults.process import environment

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Vitals:
    """What a process holds: resident memory in MiB, open descriptors, threads."""

    memory: float
    descriptors: int
    threads: int


def vitals(pid: int) -> Vitals:
    """Read what a process holds (Linux)."""
    place = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines() if ":" in line)
    return Vitals(
        int(status["VmRSS"].split()[0]) / 1024, sum(1 for _ in (place / "fd").iterdir()), int(status["Threads"])
    )


class Watched:
    """The command in the background.

    Attributes:
        frames: how many records of frames came.
        events: (moment, event), moments in seconds of the monotonic clock.
        repeated: records whose number is not above the one before.
        last: moment of the last record.
    """

    def __init__(self, arguments: Sequence[str], model: Path, folder: Path) -> None:
        self.frames = 0
        self.events: list[tuple[float, dict[str, Any]]] = []
        self.repeated = 0
        self.last = 0.0
        self._number = -1
        command = [sys.executable, "-m", "ifseg_rt", *arguments, "--model", str(model), "--no-window", "-q"]
        self._process = subprocess.Popen(
            command, cwd=folder, env=environment(ROOT, folder, {}), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def code(self) -> int | None:
        """The exit code, ``None`` while it runs."""
        return self._process.poll()

    def vitals(self) -> Vitals:
        """What it holds now."""
        return vitals(self._process.pid)

    def named(self, kind: str) -> int:
        """How many events of a kind came."""
        return sum(event["event"] == kind for _, event in self.events)

    def wait_for_frame(self, since: float, seconds: float) -> float | None:
        """Wait for a record after the moment ``since``; gives its moment, or ``None`` after ``seconds``."""
        frames = self.frames
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.code is None:
            if self.frames > frames and self.last > since:
                return self.last
            time.sleep(0.01)
        return None

    def stop(self) -> tuple[int, float]:
        """Interrupt it; gives its exit code and the seconds it took."""
        began = time.monotonic()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            code = self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        seconds = time.monotonic() - began
        self._reader.join(timeout=5)
        return code, seconds

    def _read(self) -> None:
        if self._process.stdout is None:
            return
        for line in self._process.stdout:
            entry = json.loads(line)
            now = time.monotonic()
            if "event" in entry:
                self.events.append((now, entry))
            else:
                self.frames += 1
                self.repeated += entry["frame"] <= self._number
                self._number = entry["frame"]
                self.last = now


def local_stream(folder: Path, frames: int) -> LiveServer | RtspServer:
    """An RTSP server where GStreamer is there, else one by HTTP that sends so many frames after each ``rewind``."""
    python = python_with_gstreamer()
    if python is not None:
        return RtspServer(python)
    sys.stderr.write("no GStreamer with Python bindings here: an HTTP server takes the place of RTSP\n")
    return LiveServer("ts", make_live_clip(folder / "live.mkv", frames), frames=frames)
