"""What the console says of a run that it observes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from ifseg_rt.cli.console import Console
from ifseg_rt.result import Result
from ifseg_rt.sources.base import Event, Frame
from ifseg_rt.stream.counts import Counts
from ifseg_rt.stream.items import Labelled


class Source:
    name, stem, path, is_live, is_still, fps, total = "clip [1].mp4", "clip", None, False, False, None, 3

    def open(self) -> None:
        pass

    def items(self) -> Iterator[Frame | Event]:
        yield from ()

    def close(self) -> None:
        pass


class Camera(Source):
    name, is_live = "camera 0", True


class Picture(Source):
    name, is_still = "a.png", True


DAMAGE = Event("corrupt", "a packet is damaged")


def observed(console: Console, source: Source, *events: Event) -> None:
    labels = np.zeros((2, 2), np.uint8)
    result = Result(labels, np.zeros((1, 2, 2), np.float32), ("sky",), ((0, 0, 0),), timings={"total": 1.0})
    counts = Counts()
    console.source_opened(source, source.total)
    for index, spent in enumerate((1.0, 3.0, 9.0)):
        frame = Frame(np.zeros((2, 2, 3), np.uint8), index)
        dropped = {"slow": 2, "stale": 0} if source.is_live else {}
        labelled = Labelled(source, frame, result, latency_ms=40.0, read_ms=spent, dropped=dropped)
        counts.frame(labelled)
        console.frame_done(labelled, {"read": spent})
    for event in events:
        counts.event(event)
        console.event(source, event)
    console.source_closed(source, counts)


@pytest.mark.parametrize("terminal", [False, True])
def test_every_source_is_summed_up(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    observed(Console(quiet=False), Source())
    last = capsys.readouterr().err.splitlines()[-1]
    assert "clip [1].mp4: 3 frames, " in last  # after what moves the cursor
    assert last.endswith(" fps; median ms: read 3")
    observed(Console(quiet=False), Camera())
    said = capsys.readouterr().err
    assert ", 2 dropped; median ms: read 3; dropped: 2 slow" in said
    assert "capture to labels: median 40 ms, p95 40 ms" in said
    observed(Console(quiet=False), Picture())
    assert capsys.readouterr().err.splitlines()[-1] == "a.png: ms: read 3"


def test_damage_is_named_a_few_times_and_counted_even_when_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    observed(Console(quiet=True), Source(), *[DAMAGE] * 40)
    said = capsys.readouterr().err.splitlines()
    assert 1 < len(said) < 10
    assert said[0] == "warning: a packet is damaged"
    assert said[-1] == "warning: clip [1].mp4: 40 damaged frames"


def test_losses_are_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    observed(Console(quiet=True), Camera(), Event("lost", "camera 0 is gone"), Event("reconnected", "it is back"))
    assert capsys.readouterr().err == "warning: camera 0 is gone\n"


def test_quiet_leaves_errors(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(quiet=True)
    observed(console, Source())
    console.note("by the way")
    console.error("broken", "mend it")
    assert capsys.readouterr().err == "error: broken\nhint: mend it\n"
