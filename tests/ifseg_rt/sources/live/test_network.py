"""Streams and recordings of a web server: what they deliver, how they are lost, what they may not do."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ifseg_rt.errors import SourceError
from ifseg_rt.sources.base import Frame, Source, SourceLostError
from ifseg_rt.sources.live import live_source
from ifseg_rt.sources.settings import SourceSettings
from tests.ifseg_rt.sources.live.conftest import container
from tests.servers.start import free_port

FRAMES = 20


def opened(url: str, settings: SourceSettings) -> Source:
    source = live_source(url, settings)
    assert source is not None
    return source


def read(source: Source) -> tuple[list[Frame], SourceError | None]:
    """Return the frames and what ended them."""
    frames: list[Frame] = []
    try:
        for item in source.items():
            if isinstance(item, Frame):
                frames.append(item)
    except SourceError as error:
        return frames, error
    finally:
        source.close()
    return frames, None


def test_a_web_camera(web: Any, jpeg: bytes, settings: SourceSettings) -> None:
    source = opened(web.put_mjpeg("/video", jpeg, 10, "close"), settings)
    first, lost = read(source)
    again, _ = read(source)
    assert [frame.index for frame in first] == list(range(10))
    assert [frame.connection for frame in first + again] == [1] * 10 + [2] * 10
    assert again[0].index == 10
    assert first[0].image.shape == (48, 64, 3)
    assert isinstance(lost, SourceLostError)
    assert first[0].captured < first[-1].captured <= time.monotonic()
    assert first[0].time is None


def test_a_frozen_server_is_noticed(web: Any, jpeg: bytes, settings: SourceSettings) -> None:
    source = opened(web.put_mjpeg("/video", jpeg, 10, "silence"), settings)
    frames, lost = read(source)
    assert isinstance(lost, SourceLostError)
    assert time.monotonic() - frames[-1].captured < settings.read_timeout + 0.5


def test_a_server_that_is_not_there_or_says_nothing(web: Any, settings: SourceSettings) -> None:
    silent = web.put("/x.ts", then="silence")
    web.pages["/x.ts"] = (200, "multipart/none", [], "silence")
    for url in (f"http://127.0.0.1:{free_port()}/x.ts?token=hush-hush", web.url + "/none?token=hush-hush", silent):
        began = time.monotonic()
        with pytest.raises(SourceLostError) as caught:
            opened(url, settings).open()
        assert "hush-hush" not in f"{caught.value} {caught.value.hint}"
        assert time.monotonic() - began < settings.open_timeout + 0.5


def test_a_wrong_password_is_not_tried_again(web: Any, settings: SourceSettings) -> None:
    url = web.put("/video", b"no", status=401).replace("http://", "http://somebody:hush-hush@")
    with pytest.raises(SourceError) as caught:
        opened(url, settings).open()
    assert not isinstance(caught.value, SourceLostError)
    assert "hush" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("frozen", ["opening", "reading"])
def test_closing_from_another_thread(web: Any, jpeg: bytes, frozen: str) -> None:
    settings = SourceSettings(open_timeout=30.0, read_timeout=1.5)  # seconds
    source = opened(web.put_mjpeg("/video", jpeg, 0 if frozen == "opening" else 5, "silence"), settings)
    threading.Timer(0.3, source.close).start()
    began = time.monotonic()
    frames, error = read(source)
    assert time.monotonic() - began < (1.0 if frozen == "opening" else 2.5)
    assert (len(frames) > 0, error is None) == ((False, False) if frozen == "opening" else (True, True))


def test_a_recording_is_delivered_whole(web: Any, mp4: bytes, settings: SourceSettings) -> None:
    source = opened(web.put("/clip.mp4", mp4, kind="video/mp4"), settings)
    source.open()
    assert (source.is_live, source.total) == (False, FRAMES)
    frames, error = read(source)
    assert error is None
    assert [frame.time for frame in frames] == pytest.approx([n / 10 for n in range(FRAMES)])
    assert frames[-1].image.mean() == pytest.approx(10 * (FRAMES - 1), abs=8)


def test_a_recording_that_breaks_off_is_an_error(web: Any, mp4: bytes, settings: SourceSettings) -> None:
    frames, error = read(opened(web.put("/clip.mp4", mp4[: len(mp4) * 2 // 3], kind="video/mp4", then="cut"), settings))
    assert 0 < len(frames) < FRAMES
    assert error is not None
    assert not isinstance(error, SourceLostError)


def test_a_picture(web: Any, jpeg: bytes, settings: SourceSettings) -> None:
    source = opened(web.put("/a.jpg", jpeg, kind="image/jpeg"), settings)
    source.open()
    assert (source.is_live, source.is_still) == (False, True)
    frames, error = read(source)
    assert error is None
    assert np.array_equal([frame.image.shape for frame in frames], [(48, 64, 3)])
    assert isinstance(
        read(opened(web.put("/b.jpg", jpeg[:200], kind="image/jpeg", then="cut"), settings))[1], SourceError
    )


@pytest.mark.parametrize("kind", ["playlist", "list"])
def test_a_server_cannot_make_us_read_our_own_files(
    web: Any, settings: SourceSettings, secret_file: Path, kind: str
) -> None:
    lines = {
        "playlist": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{secret_file}\n#EXT-X-ENDLIST\n",
        "list": f"ffconcat version 1.0\nfile '{secret_file}'\n",
    }
    for name in ("x.m3u8", "x.mp4", "x"):
        frames, error = read(opened(web.put(f"/{name}", lines[kind].encode()), settings))
        assert not frames
        assert error is not None


def test_pictures_above_the_limit_are_refused(web: Any, jpeg: bytes) -> None:
    source = opened(web.put_mjpeg("/video", jpeg, 3, "close"), SourceSettings(max_pixels=100))
    with pytest.raises(SourceError, match="64 x 48"):
        source.open()


def test_nothing_is_left_open(web: Any, jpeg: bytes, settings: SourceSettings) -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("needs /proc to count descriptors")
    source = opened(web.put_mjpeg("/video", jpeg, 5, "close"), settings)

    def held() -> tuple[int, int]:
        time.sleep(0.2)  # the server's own threads end after the connection
        return len(list(descriptors.iterdir())), threading.active_count()

    for cycle in range(12):
        assert list(itertools.islice(source.items(), 2))
        source.close()
        if cycle == 1:
            before = held()
    assert held() == before


def test_a_stream_that_is_joined_between_two_key_frames(web: Any, settings: SourceSettings) -> None:
    try:
        whole = container("mpegts", "libx264")
    except ValueError:
        pytest.skip("this PyAV has no libx264")
    packets = len(whole) // 188
    source = opened(web.put("/live.ts", whole[188 * (packets // 4) :], kind="video/mp2t"), settings)
    items = source.items()
    first = next(items)
    source.close()
    assert isinstance(first, Frame)  # and no word of damage
