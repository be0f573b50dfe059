"""Screens, with a virtual X server."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from ifseg_rt.errors import SourceError
from ifseg_rt.sources.base import Frame, SourceLostError
from ifseg_rt.sources.screen.source import ScreenSource
from ifseg_rt.sources.settings import SourceSettings


@dataclass
class Screen:
    """A running X server."""

    display: str
    process: subprocess.Popen[bytes]


@pytest.fixture
def screen() -> Iterator[Screen]:
    """Return a virtual screen of 320 x 240."""
    if shutil.which("Xvfb") is None:
        pytest.skip("needs Xvfb, a virtual screen")
    read_end, write_end = os.pipe()
    process = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write_end), "-screen", "0", "320x240x24", "-nolisten", "tcp"],
        pass_fds=[write_end],
        stderr=subprocess.DEVNULL,
    )
    os.close(write_end)
    with os.fdopen(read_end) as answer:
        number = answer.readline().strip()
    if not number:
        pytest.skip("Xvfb does not start here")
    yield Screen(f":{number}", process)
    process.kill()
    process.wait()


def shapes(source: ScreenSource, count: int = 3) -> list[tuple[int, ...]]:
    try:
        return [item.image.shape for item in itertools.islice(source.items(), count) if isinstance(item, Frame)]
    finally:
        source.close()


def test_a_screen_and_a_part_of_it(screen: Screen, settings: SourceSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_SESSION_TYPE", raising=False)
    settings = SourceSettings(open_timeout=10)
    assert shapes(ScreenSource(f"screen:{screen.display}", settings)) == [(240, 320, 3)] * 3
    monkeypatch.setenv("DISPLAY", screen.display)
    assert shapes(ScreenSource("screen:100x60+10+20@50", settings)) == [(60, 100, 3)] * 3
    with pytest.raises(SourceLostError, match="cannot be grabbed"):
        ScreenSource("screen:640x480", settings).open()  # larger than it is


def test_a_screen_that_goes_away(screen: Screen) -> None:
    source = ScreenSource(f"screen:{screen.display}", SourceSettings(open_timeout=10))
    items = source.items()
    assert next(items)
    screen.process.kill()
    with pytest.raises(SourceLostError):
        list(items)
    source.close()


def test_closing_ends_the_grabbing(screen: Screen) -> None:
    source = ScreenSource(f"screen:{screen.display}@1", SourceSettings(open_timeout=10))
    items = source.items()
    assert next(items)
    threading.Timer(0.2, source.close).start()
    began = time.monotonic()
    assert len(list(items)) <= 1
    assert time.monotonic() - began < 0.9


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere there is always a screen")
def test_no_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(SourceError, match="DISPLAY is not set"):
        ScreenSource("screen:", SourceSettings()).open()
    with pytest.raises(SourceLostError, match=r"screen::1799.*cannot be grabbed"):
        ScreenSource("screen::1799", SourceSettings(open_timeout=10)).open()
