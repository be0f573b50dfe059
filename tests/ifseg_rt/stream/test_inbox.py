"""Rather a fresh frame than an old one, where the fresh one is nearer."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from ifseg_rt.sources.base import Frame
from ifseg_rt.stream.inbox import Inbox
from ifseg_rt.stream.items import Taken

from .scripted import Scripted

STEP = 0.1


def taken(source: Scripted, index: int, captured: float) -> Taken:
    return Taken(source, Frame(np.zeros((2, 2, 3), np.uint8), index, captured=captured), 0.0)


@pytest.mark.parametrize(("age", "expected"), [(0.9, 3), (0.2, 2)], ids=["nearly the next", "just taken"])
def test_a_frame_is_waited_for_only_where_it_is_nearer_than_the_one_at_hand_is_old(age: float, expected: int) -> None:
    source = Scripted([])
    inbox = Inbox(readers=1)
    newest = time.monotonic() - age * STEP
    for index in (0, 1, 2):
        inbox.put_newest(taken(source, index, newest - (2 - index) * STEP))
    item = inbox.take()
    assert isinstance(item, Taken)
    arriving = threading.Timer((1 - age) * STEP, inbox.put_newest, [taken(source, 3, newest + STEP)])
    arriving.start()
    assert inbox.fresher(item).frame.index == expected
    arriving.join()


def test_nobody_waits_for_a_camera_that_has_stopped_or_while_others_have_frames() -> None:
    source, other = Scripted([]), Scripted([], name="other")
    inbox = Inbox(readers=2)
    newest = time.monotonic() - 0.9 * STEP
    for index in (0, 1, 2):
        inbox.put_newest(taken(source, index, newest - (2 - index) * STEP))
    item = inbox.take()
    assert isinstance(item, Taken)
    inbox.put_newest(taken(other, 0, time.monotonic()))
    started = time.monotonic()
    assert inbox.fresher(item) is item
    assert time.monotonic() - started < 0.005
    inbox.take()
    assert inbox.fresher(item) is item  # nothing came in time
    assert time.monotonic() - started < STEP
