"""What is passed on of a build, and what is kept of what TensorRT says."""

from __future__ import annotations

import threading
from types import SimpleNamespace

from ifseg_rt.cli.build_progress import LineProgress
from ifseg_rt.tensorrt.building.progress import make_monitor
from ifseg_rt.tensorrt.logger import Messages, make_logger


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
