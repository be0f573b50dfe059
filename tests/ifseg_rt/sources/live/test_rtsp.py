"""RTSP with a real server that is killed, frozen and started again."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from ifseg_rt.sources.base import Frame, Source, SourceLostError
from ifseg_rt.sources.live import live_source
from ifseg_rt.sources.pattern import read_stamp
from ifseg_rt.sources.settings import SourceSettings
from tests.servers.start import RtspServer


def source_of(server: RtspServer, settings: SourceSettings) -> Source:
    source = live_source(server.url, settings)
    assert source is not None
    return source


def test_frames_arrive_soon_after_they_were_made(rtsp_server: RtspServer, settings: SourceSettings) -> None:
    source = source_of(rtsp_server, settings)
    began = time.monotonic()
    ages, numbers = [], []
    for item in itertools.islice(source.items(), 60):
        assert isinstance(item, Frame)
        if not numbers:
            assert time.monotonic() - began < 3
        stamp = read_stamp(item.image)
        assert stamp is not None
        numbers.append(stamp[0])
        ages.append(item.taken - stamp[1])
    source.close()
    assert numbers == list(range(numbers[0], numbers[0] + 60))
    assert np.median(ages[25:]) < 0.3  # 0.045 on an idle machine


def test_killed_and_started_again(rtsp_server: RtspServer, settings: SourceSettings) -> None:
    source = source_of(rtsp_server, settings)
    numbers: list[int] = []
    for connection in (1, 2):
        items = source.items()
        for item in itertools.islice(items, 5):
            assert isinstance(item, Frame)
            assert item.connection == connection
            numbers.append(item.index)
        rtsp_server.kill()
        with pytest.raises(SourceLostError) as caught:
            numbers.extend(item.index for item in items if isinstance(item, Frame))
        source.close()
        with pytest.raises(SourceLostError) as refused:
            source.open()
        assert "hush" not in f"{caught.value} {refused.value}"
        rtsp_server.start()
    assert len(numbers) == len(set(numbers))


def test_frozen(rtsp_server: RtspServer, settings: SourceSettings) -> None:
    source = source_of(rtsp_server, settings)
    items = source.items()
    assert list(itertools.islice(items, 10))
    rtsp_server.freeze()
    frozen = time.monotonic()
    with pytest.raises(SourceLostError):
        list(items)
    assert time.monotonic() - frozen < settings.read_timeout + 0.5
    source.close()
    rtsp_server.thaw()
    again = next(source.items())
    assert isinstance(again, Frame)
    assert again.index >= 10
    source.close()
