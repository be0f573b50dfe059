"""What a screen shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ifseg_rt.errors import SourceError, UsageError
from ifseg_rt.sources.base import Event
from ifseg_rt.sources.connection import ConnectedSource, Items
from ifseg_rt.sources.decoding import check_size
from ifseg_rt.sources.screen import grab
from ifseg_rt.sources.settings import SourceSettings

Grabbed: TypeAlias = tuple[NDArray[np.uint8], float, float]

_ARGUMENT = re.compile(
    r"screen:(?P<display>[\w.\-]*:\d+(?:\.\d+)?)?/?"
    r"(?:(?P<width>\d+)x(?P<height>\d+)(?:\+(?P<x>\d+)\+(?P<y>\d+))?)?(?:@(?P<fps>\d+(?:\.\d+)?))?"
)
_FPS = 30.0


class ScreenSource(ConnectedSource):
    """A whole screen or a rectangle of it.

    Args:
        argument: ``screen:``, ``screen::1`` (an X display), ``screen:640x480+10+20@15``, ``screen::1/640x480``.
        settings: sizes and time limits.

    Raises:
        UsageError: the argument is none of these.
    """

    def __init__(self, argument: str, settings: SourceSettings) -> None:
        match = _ARGUMENT.fullmatch(argument)
        expected = "expected screen:, or with any of screen:DISPLAY/WIDTHxHEIGHT+X+Y@FPS, such as screen:640x480@15"
        if match is None:
            raise UsageError(f"{argument} is no screen: {expected}")
        width, height = int(match["width"] or 0), int(match["height"] or 0)
        rate = float(match["fps"] or _FPS)
        if (match["width"] and not (width and height)) or not 0 < rate <= 1000:
            raise UsageError(f"{argument}: size and rate must be above 0, the rate at most 1000", hint=expected)
        super().__init__(argument, "screen")
        self.fps = rate
        self._settings = settings
        self._display = match["display"]
        self._corner = (int(match["x"] or 0), int(match["y"] or 0))
        self._size = (width, height) if width else None

    def _connect(self, stop: threading.Event) -> tuple[Items, Callable[[], None]]:
        grabber, what, options = self._grabber()
        wishes = [f"{name}={value}" for name, value in options.items()]
        # The package must be found there wherever it was found here.
        paths = [str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")]
        child = subprocess.Popen(
            [sys.executable, "-m", grab.__name__, grabber, what, *wishes],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        )
        watched = _Watched(child, stop, self._settings.open_timeout)
        try:
            first = self._next_frame(watched)
            if first is None:
                raise self._lost(
                    "was closed while it was being opened" if stop.is_set() else f"cannot be grabbed: {watched.reason}",
                    hint=f"is there a display {what}, may this user see it, and is the rectangle inside?",
                )
        except SourceError:
            watched.end()
            raise
        watched.patience = self._settings.read_timeout
        return self._read(first, watched), watched.end

    def _read(self, first: Grabbed, watched: _Watched) -> Items:
        if os.environ.get("XDG_SESSION_TYPE") == "wayland" and self._number == 1:
            yield Event("note", f"{self.name}: this session runs Wayland; only windows of X programs are seen")
        grabbed: Grabbed | None = first
        while grabbed is not None:
            yield self._frame(*grabbed)
            grabbed = self._next_frame(watched)
        if not watched.stop.is_set():
            raise self._lost(f"cannot be grabbed any more: {watched.reason}")

    def _next_frame(self, watched: _Watched) -> Grabbed | None:
        header = watched.read(grab.HEADER.size)
        if header is None:
            return None
        width, height, captured, taken = grab.HEADER.unpack(header)
        check_size(width, height, self.name, self._settings.max_pixels)
        content = watched.read(width * height * 3)
        if content is None:
            return None
        return np.frombuffer(content, dtype=np.uint8).reshape(height, width, 3), captured, taken

    def _grabber(self) -> tuple[str, str, dict[str, str]]:
        """The part of FFmpeg that grabs here, what it opens, and its options."""
        # Without the last two FFmpeg watches several pictures to find a rate that it has just been told.
        options = {"framerate": f"{self.fps:g}", "fpsprobesize": "0", "probesize": "32"}
        if self._size is not None:
            options["video_size"] = f"{self._size[0]}x{self._size[1]}"
        x, y = (str(value) for value in self._corner)
        if sys.platform == "win32":
            return "gdigrab", "desktop", {**options, "offset_x": x, "offset_y": y}
        if sys.platform == "darwin":
            if self._size is not None:
                raise SourceError(f"{self.name}: on macOS only whole screens are grabbed", hint="name it screen:@15")
            return "avfoundation", "Capture screen 0:none", options
        display = self._display or os.environ.get("DISPLAY")
        if not display:
            raise SourceError(
                f"{self.name}: there is no screen, as DISPLAY is not set", hint="name an X display: screen::0"
            )
        return "x11grab", display, {**options, "grab_x": x, "grab_y": y}


class _Watched:
    """The process that grabs, and a thread that ends it when it is to stop or falls silent; both end together."""

    def __init__(self, child: subprocess.Popen[bytes], stop: threading.Event, patience: float) -> None:
        self.stop = stop
        self.patience = patience
        self._child = child
        self._newest = time.monotonic()
        self._silent = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="screen", daemon=True)
        self._thread.start()

    @property
    def reason(self) -> str:
        """Why nothing comes any more; waits for the process to end."""
        if self._silent:
            return f"no picture for {self.patience:g} s"
        self._child.wait()
        said = self._child.stderr.read() if self._child.stderr is not None else b""
        lines = said.decode(errors="replace").splitlines()
        return next((line for line in reversed(lines) if line.strip()), f"exit code {self._child.returncode}")

    def read(self, length: int) -> bytearray | None:
        """Exactly so many bytes, or ``None`` at the end."""
        content = bytearray(length)
        view, filled = memoryview(content), 0
        pipe: Any = self._child.stdout
        while filled < length:
            count = pipe.readinto(view[filled:])
            if not count:
                return None
            filled += count
        self._newest = time.monotonic()
        return content

    def end(self) -> None:
        """End the process and the thread; what it still said on standard error is dropped."""
        self._over.set()
        self._thread.join()
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdout, self._child.stderr):
            if pipe is not None:
                pipe.close()

    def _watch(self) -> None:
        while not self.stop.is_set() and not self._over.wait(0.05):
            if time.monotonic() - self._newest > self.patience:
                self._silent = True
                break
        self._child.kill()
