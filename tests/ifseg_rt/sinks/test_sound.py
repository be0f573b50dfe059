"""The sound of a source, copied or said to be dropped."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from ifseg_rt.sinks.placing.files import Place
from ifseg_rt.sinks.videos import VideoSink
from tests.ifseg_rt.sinks.made_up import feed, seen

RATE = 8000


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of sound, silent but for a click of 20 ms at 1.0 s, beside 10 frames a second."""
    path = tmp_path_factory.mktemp("sound") / "clip.mkv"
    samples = np.zeros((1, 2 * RATE), np.int16)
    samples[:, RATE : RATE + 160] = 20000
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("mpeg4", rate=10)
        pictures.width, pictures.height, pictures.pix_fmt = 32, 32, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for number in range(20):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="bgr24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(pictures.encode(frame))
            piece = np.ascontiguousarray(samples[:, number * 800 : number * 800 + 800])
            heard = av.AudioFrame.from_ndarray(piece, format="s16", layout="mono")
            heard.sample_rate, heard.pts, heard.time_base = RATE, number * 800, Fraction(1, RATE)
            container.mux(sound.encode(heard))
        container.mux(pictures.encode(None))
    return path


def click(path: Path) -> float:
    """When the click is heard, in seconds."""
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            loud = np.flatnonzero(frame.to_ndarray().ravel() > 10000)
            if loud.size:
                return float(frame.time or 0.0) + float(loud[0]) / RATE
    raise ValueError("no click")


@pytest.mark.parametrize("suffix", [".mkv", ".mov", ".avi"])
def test_sound_is_copied_in_step(tmp_path: Path, clip: Path, suffix: str) -> None:
    notes: list[str] = []
    path = tmp_path / f"v{suffix}"
    sink = VideoSink(Place(path), audio_from=clip, note=notes.append)
    feed(sink, [number / 10 for number in range(15)])
    sink.close()
    assert click(path) == pytest.approx(1.0, abs=0.002)
    assert seen(path)[1] == list(range(15))
    with av.open(str(path)) as container:
        assert (container.duration or 0) / 1e6 == pytest.approx(1.5, abs=0.11)  # not the two seconds of the source
    assert not notes


def test_sound_of_a_second_file_begins_with_it(tmp_path: Path, clip: Path) -> None:
    sink = VideoSink(Place(tmp_path / "v.mkv"), audio_from=clip)
    feed(sink, [0.0, 0.1, 0.2, 0.3])
    feed(sink, [number / 10 for number in range(4, 20)], (20, 20), first=4)
    sink.close()
    assert click(tmp_path / "v-2.mkv") == pytest.approx(0.6, abs=0.002)


def test_sound_that_cannot_be_kept_is_said(tmp_path: Path, clip: Path) -> None:
    silent = tmp_path / "silent.mp4"
    sink = VideoSink(Place(silent))
    feed(sink, [0.0, 0.1])
    sink.close()
    notes: list[str] = []
    for number, source in enumerate((silent, tmp_path / "gone.mp4")):
        sink = VideoSink(Place(tmp_path / f"{number}.mp4"), audio_from=source, note=notes.append)
        feed(sink, [0.0, 0.1])
        sink.close()
        assert seen(tmp_path / f"{number}.mp4")[1] == [0, 1]
    assert len(notes) == 2
    assert all("no sound" in note for note in notes)
