"""When a frame is recorded, replayed or launched, and what becomes of refusals."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from ifseg_rt.errors import DeviceError
from ifseg_rt.gpu.recording import FrameRecorder


class Recorded:
    def __init__(self, log: list[str]) -> None:
        self.log = log

    def launch(self) -> None:
        self.log.append("replayed")

    def close(self) -> None:
        self.log.append("closed")


def recorder(log: list[str], **options: Any) -> FrameRecorder:
    def record(work: Any) -> Any:
        log.append("recorded")
        return Recorded(log)

    return FrameRecorder(options.get("record", record), options.get("why_not", lambda: None), wanted=True)


def test_second_frames_are_recorded() -> None:
    log: list[str] = []
    frames = recorder(log)
    for key in ("a", "a", "b", "a"):
        frames.run(key, lambda: log.append("launched"))
    assert log == ["launched", "recorded", "replayed", "launched", "replayed"]
    log.clear()
    frames.forget()
    frames.run("a", lambda: log.append("launched"))
    assert log == ["closed", "launched"]


def test_after_a_refusal_everything_is_launched() -> None:
    log: list[str] = []

    def record(work: Any) -> Any:
        work()
        return Recorded(log)

    def cannot() -> None:
        log.append("tried")
        raise RuntimeError("not this")

    frames = recorder(log, record=record)
    for _ in range(2):
        frames.run("a", lambda: log.append("launched"))
    frames.run("b", lambda: None)
    with pytest.raises(RuntimeError, match="not this"):
        frames.run("b", cannot)
    log.clear()
    for key in ("a", "a", "b", "b"):
        frames.run(key, lambda: log.append("launched"))
    assert (log, frames.refusal) == (["launched"] * 4, "recording a frame failed: not this")


@pytest.mark.parametrize("error", [DeviceError("no second context"), RuntimeError("no second context\n")])
def test_a_question_that_fails_only_costs_the_recording(error: Exception) -> None:
    log: list[str] = []

    def why_not() -> None:
        raise error

    frames = recorder(log, why_not=why_not)
    for _ in range(4):
        frames.run("a", lambda: log.append("launched"))
    assert log == ["launched"] * 4
    assert str(frames.refusal).endswith("no second context")


def test_a_frame_that_failed_is_not_recorded_next() -> None:
    frames = recorder([], record=lambda work: pytest.fail("recorded"))

    def fails() -> None:
        raise RuntimeError("x")

    for _ in range(2):
        with pytest.raises(RuntimeError):
            frames.run("a", fails)


def test_recording_is_not_asked_about_when_unwanted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        frames = FrameRecorder(lambda work: pytest.fail("recorded"), lambda: pytest.fail("asked"), wanted=False)
        done: list[int] = []
        for _ in range(3):
            frames.run("a", lambda: done.append(1))
    assert (len(done), frames.refusal, frames.kept, caplog.records) == (3, None, 0, [])
