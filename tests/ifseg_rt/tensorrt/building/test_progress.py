"""What is shown of a build, and what is kept of what TensorRT says."""

from __future__ import annotations

import io
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from ifseg_rt.tensorrt.building.progress import BarProgress, LineProgress, SilentProgress, make_monitor, make_progress
from ifseg_rt.tensorrt.logger import Messages, make_logger


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
        progress._bars.refresh()
        progress.step("nobody's", 0)
        replay(progress)
    assert "Building engine" in terminal.getvalue()
    assert "  Timing [tactics]" in terminal.getvalue()


def test_which_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(make_progress(quiet=True, say=print), SilentProgress)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert isinstance(make_progress(quiet=False, say=print), LineProgress)
    replay(SilentProgress())


def test_the_monitor_stops_the_builder_when_asked() -> None:
    module = SimpleNamespace(IProgressMonitor=type("IProgressMonitor", (), {}))
    cancelled = threading.Event()
    said: list[str] = []
    monitor = make_monitor(module, LineProgress(said.append), cancelled)
    monitor.phase_start("Building engine", None, 2)
    assert monitor.step_complete("Building engine", 0) is True
    cancelled.set()
    assert monitor.step_complete("Building engine", 1) is False
    monitor.phase_finish("Building engine")
    assert len(said) == 1


def test_messages() -> None:
    messages = Messages()
    module = SimpleNamespace(ILogger=type("ILogger", (), {}))
    logger = make_logger(module, messages)
    assert messages.first_error == "it gave no reason"

    def say(level: str, text: str) -> None:
        logger.log(SimpleNamespace(name=level), text)

    say("INFO", "Total Activation Memory: 4096 bytes")
    say("WARNING", "slow")
    say("ERROR", "[checks.cpp::build::12] Error Code 2:\n  out of  memory")
    say("INTERNAL_ERROR", "its echo")
    logger.log(None, None)  # nothing may be raised into C++
    assert messages.device_memory == 4096
    assert messages.warnings == ["slow"]
    assert messages.errors == ["Error Code 2: out of memory", "its echo"]
    assert messages.first_error == "Error Code 2: out of memory"
