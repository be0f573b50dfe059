"""What is shown of the building of an engine."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from ifseg_rt.cli.build_progress import BarProgress, LineProgress, make_progress
from ifseg_rt.tensorrt.building.progress import SilentProgress


def replay(progress: Any) -> None:
    progress.start("Building engine", None, 2)
    progress.start("Timing tactics", "Building engine", 3)
    progress.step("Timing tactics", 0)
    progress.finish("Timing tactics")
    progress.step("Building engine", 1)
    progress.finish("Building engine")


def test_lines() -> None:
    said: list[str] = []
    progress = LineProgress(said.append)
    with progress:
        replay(progress)
        replay(progress)
    assert said == ["building engine (2 steps) ..."] * 2


def test_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    progress = make_progress(quiet=False, say=lambda line: None)
    assert isinstance(progress, BarProgress)
    with progress:
        progress.start("Building engine", None, 2)
        progress.start("Timing [tactics]", "Building engine", 3)
        progress.step("nobody's", 0)
        replay(progress)
    assert "Building engine" in terminal.getvalue()
    assert "  Timing [tactics]" in terminal.getvalue()


def test_which_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(make_progress(quiet=True, say=print), SilentProgress)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert isinstance(make_progress(quiet=False, say=print), LineProgress)
    replay(SilentProgress())
