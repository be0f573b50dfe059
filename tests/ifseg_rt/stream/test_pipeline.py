"""A whole run: what is written, shown and told; one failing source or output ends nothing else."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from ifseg_rt.errors import IfsegError, SourceError
from ifseg_rt.sinks.base import SinkError
from ifseg_rt.sinks.outputs import Outputs
from ifseg_rt.sources.base import Event, Source
from ifseg_rt.stream.items import Labelled
from ifseg_rt.stream.observer import Observer
from ifseg_rt.stream.pipeline import Pipeline
from ifseg_rt.stream.policy import StreamPolicy

from .scripted import GONE, Scripted, our_threads, segmenting


class Log(Observer):
    def __init__(self) -> None:
        self.frames = 0
        self.said: list[str] = []

    def frame_done(self, labelled: Labelled, timings: Mapping[str, float]) -> None:
        self.frames += 1
        assert timings["total"] > 0

    def event(self, source: Source, event: Event) -> None:
        self.said.append(event.kind)

    def note(self, text: str) -> None:
        self.said.append(text)

    def error(self, text: str, hint: str | None = None) -> None:
        self.said.append(text)


class Screen:
    def __init__(self, frames: int) -> None:
        self.left = frames

    def show(self, picture: np.ndarray, caption: str) -> bool:
        assert picture.shape == (8, 8, 3)
        self.left -= 1
        return self.left > 0


def run(sources: list[Any], output: str | None, *, screen: Screen | None = None, **options: Any) -> tuple[list, Log]:
    lines: list[Mapping[str, Any]] = []
    log = Log()
    outputs = Outputs(output, sources, note=log.note)
    pipeline = Pipeline(segmenting(0.002), outputs, lines.append, screen, log, **options)
    try:
        pipeline.run(sources)
    except IfsegError as error:
        log.said.append(f"raised {error}")
        log.raised = error  # type: ignore[attr-defined]
    return lines, log


def shown(path: Path) -> int:
    with av.open(str(path)) as video:
        return sum(1 for _ in video.decode(video=0))


def test_closing_the_window_ends_the_run_and_finishes_the_recording(tmp_path: Path) -> None:
    camera = Scripted(["frame", 0.01] * 500)
    lines, log = run([camera], str(tmp_path / "o.mp4"), screen=Screen(5))
    assert "stopped in the window" in log.said
    assert 5 <= len(lines) <= 7
    assert shown(tmp_path / "o.mp4") == len(lines)
    assert not our_threads()


def test_drops_are_told_with_every_frame_and_losses_as_events() -> None:
    camera = Scripted(["frame", 0.001] * 40, ["frame", 0.001] * 40)
    lines, log = run([camera], None, policy=StreamPolicy(max_frames=30, max_staleness=5))
    frames = [line for line in lines if "event" not in line]
    assert len(frames) == log.frames == 30
    assert [line["event"] for line in lines if "event" in line] == ["lost", "reconnected"] == log.said
    numbers = [line["frame"] for line in frames]
    missing = numbers[-1] + 1 - len(numbers)
    assert sum(frames[-1]["dropped"].values()) == missing > 0


def test_a_source_that_fails_keeps_nothing_from_the_others(tmp_path: Path) -> None:
    sources = [
        Scripted(["frame", "frame", GONE], live=False, name="a"),
        Scripted(["frame"] * 3, live=False, name="b"),
    ]
    lines, log = run(sources, f"{tmp_path}/out/")
    assert isinstance(log.raised, SourceError)
    assert "1 of 2 sources failed: a" in str(log.raised)
    assert [line["source"] for line in lines] == ["a", "a", "b", "b", "b"]
    assert (shown(tmp_path / "out/a_overlay.mp4"), shown(tmp_path / "out/b_overlay.mp4")) == (2, 3)


def test_a_failed_run_leaves_the_good_output_of_an_earlier_one(tmp_path: Path) -> None:
    target = tmp_path / "o.mp4"
    run([Scripted(["frame"] * 9, live=False)], str(target))
    lines, _ = run([Scripted(["frame", "frame", GONE], live=False)], str(target))
    assert shown(target) == 9
    (moved,) = [line for line in lines if line.get("event") == "left_at"]
    assert moved["output"] == str(target)
    assert shown(Path(moved["partial"])) == 2


def test_an_output_that_fails_ends_only_itself(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    sources = [Scripted(["frame"] * 3, live=False, name=name) for name in ("a", "b")]
    log = Log()
    outputs = Outputs(f"{tmp_path}/out/", sources)
    opened = outputs.open

    def broken(source: Source) -> Any:
        if source.name == "a":
            raise SinkError("cannot write a: the disk is full")
        return opened(source)

    outputs.open = broken  # type: ignore[method-assign]
    lines: list[Mapping[str, Any]] = []
    with pytest.raises(SinkError, match="1 output failed"):
        Pipeline(segmenting(), outputs, lines.append, None, log).run(sources)
    frames = [line for line in lines if "event" not in line]
    assert [bool(line["outputs"]) for line in frames] == [False] * 3 + [True] * 3
    assert "cannot write a: the disk is full" in log.said


def test_stopping_from_another_thread() -> None:
    camera = Scripted(["frame", 0.005] * 2000)
    log = Log()
    pipeline = Pipeline(segmenting(0.01), Outputs(None, [camera]), lambda fields: None, None, log)
    threading.Timer(0.2, pipeline.stop).start()
    pipeline.run([camera])
    assert 3 < log.frames < 60
    assert not our_threads()
