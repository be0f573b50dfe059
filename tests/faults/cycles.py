"""Open and close every kind of source again and again: ``python -m tests.faults.cycles --cycles 1000``.

A third of the cycles takes two frames, a third none, a third is closed by another thread. Afterwards no descriptor and
no thread may be left over. What needs something that is not there (GStreamer, a display) is left out, and said.
"""

from __future__ import annotations

import argparse
import gc
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from ifseg_rt.errors import IfsegError
from ifseg_rt.sources.base import Frame, Source
from ifseg_rt.sources.camera import CameraSource
from ifseg_rt.sources.find import find_sources
from tests.faults.making.clips import RECIPES, make_clip, make_picture
from tests.faults.making.numbering import numbered
from tests.faults.making.rtsp import RtspServer, python_with_gstreamer
from tests.faults.process import quiet_end
from tests.faults.watched import ROOT, Vitals, vitals

Maker = Callable[[], Source]
_SETTLE = 5.0  # seconds for threads to end


def main() -> int:
    """Go through the kinds; 0 where nothing is left over."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.cycles", description=__doc__)
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--only", choices=sorted(KINDS))
    options = parser.parse_args()
    good = True
    print(f"{'kind':10} {'cycles':>7} {'seconds':>8} {'descriptors':>12} {'threads':>8} {'MiB':>14}")
    for name, kind in KINDS.items():
        if options.only not in (None, name):
            continue
        with tempfile.TemporaryDirectory(prefix="cycles-") as folder, kind(Path(folder)) as make:
            if isinstance(make, str):
                print(f"{name:10} left out: {make}")
                continue
            good &= _cycle(name, make, options.cycles)
    print("good" if good else "NOT GOOD")
    return 0 if good else 1


def _cycle(name: str, make: Maker, cycles: int) -> bool:
    began = time.monotonic()
    warm = max(3, cycles // 10)
    before = vitals(os.getpid())
    frames = 0
    for number in range(cycles):
        if number == warm:
            before = _settled(None)
        frames += _once(make, number % 3)
    after = _settled(before)
    good = frames > 0 and after.descriptors <= before.descriptors and after.threads <= before.threads
    print(
        f"{name:10} {cycles:7} {time.monotonic() - began:8.1f} {before.descriptors:5} -> {after.descriptors:3} "
        f"{before.threads:2} -> {after.threads:2} {before.memory:6.1f} -> {after.memory:5.1f}"
        + ("" if good else f"  LEFT OVER ({frames} frames)"),
        flush=True,
    )
    return good


def _once(make: Maker, way: int) -> int:
    source = make()
    frames = 0
    with closing(source):
        source.open()
        if way == 1:
            return 0
        if way == 2:
            threading.Timer(0.02, source.close).start()
        with suppress(IfsegError):  # closed from elsewhere, or a clip of one frame
            items = source.items()
            for item in items:
                frames += isinstance(item, Frame)
                if way == 0 and frames == 2:
                    break
            if isinstance(items, Iterator) and hasattr(items, "close"):
                items.close()
    return frames


def _settled(wanted: Vitals | None) -> Vitals:
    """What this process holds once threads and garbage have gone."""
    deadline = time.monotonic() + _SETTLE
    while True:
        gc.collect()
        now = vitals(os.getpid())
        reached = wanted is not None and now.descriptors <= wanted.descriptors and now.threads <= wanted.threads
        if reached or time.monotonic() > deadline or (wanted is None and time.monotonic() > deadline - _SETTLE + 1):
            return now
        time.sleep(0.1)


def _found(text: str) -> Maker:
    return lambda: find_sources([text]).found[0]


@contextmanager
def _picture(folder: Path) -> Iterator[Maker]:
    yield _found(str(make_picture(folder / "a.jpg")))


@contextmanager
def _video(folder: Path) -> Iterator[Maker]:
    yield _found(str(make_clip(folder / "a.mp4", RECIPES["mp4"][0])))


@contextmanager
def _animation(folder: Path) -> Iterator[Maker]:
    from PIL import Image

    pages = [Image.fromarray(numbered(number)) for number in range(4)]
    pages[0].save(folder / "a.webp", save_all=True, append_images=pages[1:], duration=40)
    yield _found(str(folder / "a.webp"))


class _Capture:
    """A camera of 50 pictures per second that holds a descriptor."""

    def __init__(self) -> None:
        self._descriptor = os.open(os.devnull, os.O_RDONLY)

    def read(self) -> tuple[bool, Any]:
        time.sleep(0.02)
        return True, np.zeros((48, 64, 3), np.uint8)

    def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def isOpened(self) -> bool:
        return self._descriptor >= 0

    def set(self, *_: object) -> bool:
        return True

    def get(self, *_: object) -> float:
        return 0.0


@contextmanager
def _camera(folder: Path) -> Iterator[Maker]:
    yield lambda: CameraSource(0, open_capture=lambda *_, **__: _Capture())


@contextmanager
def _pattern(folder: Path) -> Iterator[Maker]:
    yield _found("test:160x120@100")


@contextmanager
def _http(folder: Path, kind: str) -> Iterator[Maker]:
    program = [sys.executable, "-m", "tests.faults.making.live_server", kind, str(folder)]
    with subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield _found(process.stdout.readline().strip() if process.stdout else "")
        finally:
            quiet_end(process)


@contextmanager
def _rtsp(folder: Path) -> Iterator[Maker | str]:
    python = python_with_gstreamer()
    if python is None:
        yield "no Python with GStreamer's bindings"
        return
    server = RtspServer(python)
    server.start()
    try:
        yield _found(server.address)
    finally:
        server.kill()


@contextmanager
def _udp(folder: Path) -> Iterator[Maker]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = [sys.executable, "-m", "tests.faults.making.live_server", "udp", str(folder), "--port", str(port)]
    with subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield _found(f"udp://127.0.0.1:{port}")
        finally:
            quiet_end(process)


@contextmanager
def _screen(folder: Path) -> Iterator[Maker | str]:
    yield _found("screen:") if os.environ.get("DISPLAY") else "no display (try it under xvfb-run)"


@contextmanager
def _stdin(folder: Path) -> Iterator[Maker]:
    clip = make_clip(folder / "a.ts", RECIPES["ts"][0])
    kept = os.dup(0)

    def make() -> Source:
        with clip.open("rb") as file:
            os.dup2(file.fileno(), 0)
        return find_sources(["-"]).found[0]

    try:
        yield make
    finally:
        os.dup2(kept, 0)
        os.close(kept)


@contextmanager
def _gstreamer(folder: Path) -> Iterator[Maker | str]:
    try:
        import gi  # noqa: F401
    except ImportError:
        yield "this Python has no PyGObject"
        return
    yield _found("gst:videotestsrc is-live=true ! video/x-raw,width=160,height=120")


KINDS: dict[str, Callable[[Path], Any]] = {
    "picture": _picture,
    "video": _video,
    "animation": _animation,
    "camera": _camera,
    "pattern": _pattern,
    "stdin": _stdin,
    "http-ts": lambda folder: _http(folder, "ts"),
    "http-mjpeg": lambda folder: _http(folder, "mjpeg"),
    "udp": _udp,
    "rtsp": _rtsp,
    "screen": _screen,
    "gstreamer": _gstreamer,
}

if __name__ == "__main__":
    sys.exit(main())
