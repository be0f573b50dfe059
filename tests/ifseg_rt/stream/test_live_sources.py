"""Live sources: the newest frame wins, what is lost comes back, and stopping works in every state."""

from __future__ import annotations

import threading
import time

import pytest

from ifseg_rt.errors import SourceError, UsageError
from ifseg_rt.sources.base import Event
from ifseg_rt.sources.settings import SourceSettings
from ifseg_rt.stream import policy
from ifseg_rt.stream.items import Closed, Happened, Labelled, Opened
from ifseg_rt.stream.labelling import LabelStream
from ifseg_rt.stream.policy import StreamPolicy

from .scripted import Scripted, our_threads, segmenting

QUICK = SourceSettings(open_timeout=0.2, read_timeout=0.1)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "_FIRST_PAUSE", 0.02)


def frames(items: list) -> list[Labelled]:
    return [item for item in items if isinstance(item, Labelled)]


def kinds(items: list) -> list[str]:
    return [item.event.kind for item in items if isinstance(item, Happened)]


def test_slow_labelling_gets_the_newest_and_counts_the_rest() -> None:
    source = Scripted(["frame", 0.005] * 200)
    with LabelStream(segmenting(0.05), [source], StreamPolicy(max_frames=8)) as stream:
        seen = frames(list(stream))
    assert len(seen) == 8
    numbers = [item.frame.index for item in seen]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] > 30  # of about 80 that came meanwhile
    # Every number is accounted for: labelled, or dropped because a newer one came.
    assert seen[-1].dropped["slow"] == numbers[-1] + 1 - len(seen)
    assert max(item.latency_ms for item in seen) < 100  # not 8 x 50: nothing queues up


def test_stale_frames_are_not_labelled() -> None:
    source = Scripted(["frame", 0.01, "frame", 0.01, "frame", 0.5])
    with LabelStream(segmenting(0.15), [source], StreamPolicy(max_staleness=0.05, max_retries=0)) as stream:
        items = list(stream)
    assert [item.frame.index for item in frames(items)] == [0]


def test_a_lost_source_comes_back() -> None:
    source = Scripted(["frame", "frame", 0.05], [OSError("busy")], ["frame", 0.05, "frame", 0.05])
    with LabelStream(segmenting(), [source], StreamPolicy(max_frames=4)) as stream:
        items = list(stream)
    assert isinstance(items[0], Opened)
    assert isinstance(items[-1], Closed)
    assert items[-1].error is None
    assert kinds(items)[:2] == ["lost", "reconnected"]
    back = next(item.event for item in items if isinstance(item, Happened) and item.event.kind == "reconnected")
    assert back.details["gap_s"] > 0
    assert back.details["attempts"] == 2
    numbers = [(item.frame.index, item.frame.connection) for item in frames(items)]
    assert [index for index, _ in numbers] == sorted({index for index, _ in numbers})
    assert {connection for _, connection in numbers} >= {1, 2}


def test_a_silent_source_counts_as_lost_whatever_it_claims() -> None:
    source = Scripted(["frame", "hang"], ["frame", 0.05, "hang"])
    with LabelStream(segmenting(), [source], StreamPolicy(max_frames=2), QUICK) as stream:
        items = list(stream)
    assert kinds(items) == ["lost", "reconnected"]
    assert source.connections == 2


@pytest.mark.parametrize("limit", [{"max_retries": 3}, {"reconnect_timeout": 0.2}])
def test_giving_up(limit: dict[str, float]) -> None:
    source = Scripted(["frame"], [OSError("no route")])
    with LabelStream(segmenting(), [source], StreamPolicy(**limit)) as stream:
        items = list(stream)
    assert len(frames(items)) == 1
    assert isinstance(items[-1], Closed)
    assert isinstance(items[-1].error, SourceError)
    assert "gave up" in str(items[-1].error)
    if "max_retries" in limit:
        assert source.connections == 1 + 3


def test_the_first_connection_may_be_waited_for() -> None:
    scripts = [[OSError("not yet")], [OSError("not yet")], ["frame", 0.05]]
    with LabelStream(segmenting(), [Scripted(*scripts)], StreamPolicy(max_frames=1)) as stream:
        (only,) = list(stream)
    assert isinstance(only, Closed)
    assert isinstance(only.error, SourceError)
    with LabelStream(segmenting(), [Scripted(*scripts)], StreamPolicy(max_frames=1, wait=True)) as stream:
        items = list(stream)
    assert len(frames(items)) == 1
    assert kinds(items) == ["waiting", "connected"]


def test_live_sources_take_turns() -> None:
    fast = Scripted(["frame", 0.002] * 400, name="fast")
    slow = Scripted(["frame", 0.03] * 40, name="slow")
    with LabelStream(segmenting(0.02), [fast, slow], StreamPolicy(max_frames=10)) as stream:
        items = list(stream)
    seen = [item.source.name for item in frames(items)]
    assert seen.count("fast") == seen.count("slow") == 10
    assert seen[:12].count("fast") >= 4
    assert seen[:12].count("slow") >= 4


def test_events_of_the_source_are_passed_on_in_their_order_and_counted() -> None:
    damage = Event("corrupt", "frame 1 is damaged", {"frame": 1})
    source = Scripted(["frame", 0.05, damage, 0.01, "frame", 0.05])
    with LabelStream(segmenting(), [source], StreamPolicy(max_frames=2)) as stream:
        items = list(stream)
    assert [type(item).__name__ for item in items] == ["Opened", "Labelled", "Happened", "Labelled", "Closed"]
    assert frames(items)[-1].dropped["corrupt"] == 1


@pytest.mark.parametrize(
    "script",
    [["frame", 0.001] * 5000, ["hang"], ["frame", "hang"], [OSError("refused")]],
    ids=["delivering", "silent", "frozen", "refusing"],
)
def test_stopping_works_in_every_state(script: list) -> None:
    stream = LabelStream(segmenting(0.01), [Scripted(script)], StreamPolicy(wait=True), SourceSettings())
    with stream:
        reading = threading.Thread(target=lambda: list(stream))
        reading.start()
        time.sleep(0.15)
        started = time.monotonic()
        stream.close()
        reading.join(2)
        assert not reading.is_alive()
        assert time.monotonic() - started < 2
    assert not our_threads()


@pytest.mark.parametrize("wrong", [{"max_staleness": -1}, {"max_retries": -1}, {"max_frames": 0}])
def test_impossible_policies(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        StreamPolicy(**wrong)
