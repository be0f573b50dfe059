"""What the user names becomes sources; what cannot be read is said."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ifseg_rt.errors import SourceError
from ifseg_rt.native_noise import native_noise_hidden
from ifseg_rt.sources import camera
from ifseg_rt.sources.camera import CameraSource
from ifseg_rt.sources.find import find_sources
from ifseg_rt.sources.pictures import PictureSource, read_picture
from ifseg_rt.sources.videos import VideoSource


def write(path: Path, size: tuple[int, int] = (20, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((*size, 3), (10, 100, 200), dtype=np.uint8))
    return path


def write_video(path: Path, frames: int = 12, fps: float = 10.0) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (64, 48))
    for index in range(frames):
        writer.write(np.full((48, 64, 3), index * 20, dtype=np.uint8))
    writer.release()
    return path


def test_folders_patterns_and_files(tmp_path: Path) -> None:
    write(tmp_path / "b.png")
    write(tmp_path / "a.JPG")
    write_video(tmp_path / "c.mp4")
    write(tmp_path / "deep" / "d.bmp")
    (tmp_path / "notes.txt").write_text("x")
    found = find_sources([str(tmp_path)])
    assert [Path(source.name).name for source in found.found] == ["a.JPG", "b.png", "c.mp4"]
    assert [source.is_still for source in found.found] == [True, True, False]
    assert found.ignored == 1
    named = find_sources([str(tmp_path / "**" / "*.bmp"), str(tmp_path / "b.png")])
    assert [Path(source.name).name for source in named.found] == ["d.bmp", "b.png"]


def test_a_file_name_that_looks_like_a_pattern(tmp_path: Path) -> None:
    odd = write(tmp_path / "frame[1].png")
    assert [source.name for source in find_sources([str(odd)]).found] == [str(odd)]


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ("none.jpg", "there is no file or folder"),
        ("*.jpg", "no picture or video matches"),
        ("rtsp://user:secret@host/stream", "rtsp:// addresses are not read"),
        ("3", "there is no file or folder 3"),
        ("", "holds no pictures"),
    ],
)
def test_nothing_to_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argument: str, reason: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=reason) as caught:
        find_sources([argument])
    assert "secret" not in str(caught.value)
    if argument == "3":
        assert caught.value.hint == "for a camera: --camera 3"


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp"])
def test_cut_off_pictures_are_refused(tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / f"x{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    content = cv2.imencode(suffix, noise)[1].tobytes()
    path.write_bytes(content)
    assert read_picture(path).shape == (40, 50, 3)
    for broken in (b"", content[: len(content) // 2], b"not a picture"):
        path.write_bytes(broken)
        with pytest.raises(SourceError, match="is not a readable picture"):
            read_picture(path)
    assert capfd.readouterr().err == ""


def test_pictures_of_other_depths(tmp_path: Path) -> None:
    for name, array in {
        "grey.png": np.zeros((5, 6), np.uint8),
        "alpha.png": np.zeros((5, 6, 4), np.uint8),
        "deep.png": np.zeros((5, 6, 3), np.uint16),
    }.items():
        cv2.imwrite(str(tmp_path / name), array)
        assert read_picture(tmp_path / name).shape == (5, 6, 3)
        assert read_picture(tmp_path / name).dtype == np.uint8


def test_video_gives_every_frame(tmp_path: Path) -> None:
    source = VideoSource(write_video(tmp_path / "v.mp4"))
    source.open()
    assert (source.fps, source.total) == (10.0, 12)
    frames = list(source.frames())
    assert [frame.index for frame in frames] == list(range(12))
    assert frames[0].image.shape == (48, 64, 3)
    assert [frame.time for frame in frames] == pytest.approx([index / 10 for index in range(12)])
    source.close()
    source.close()


def test_unreadable_video(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "v.mp4"
    path.write_bytes(b"x" * 5000)
    with pytest.raises(SourceError, match="is not a readable video"):
        list(VideoSource(path).frames())
    with pytest.raises(SourceError, match="there is no file"):
        VideoSource(tmp_path / "none.mp4").open()
    assert capfd.readouterr().err == ""


def test_video_that_ends_early_is_told(tmp_path: Path) -> None:
    source = VideoSource(write_video(tmp_path / "v.mp4"))
    source.open()
    source.total = 40  # what the header of a cut-off file would promise
    frames = source.frames()
    assert len(list(itertools.islice(frames, 12))) == 12
    with pytest.raises(SourceError, match="ends early: expected 40 frames, could read 12"):
        next(frames)


class FakeCapture:
    """Gives numbered frames as fast as asked, or at the pace of a gate, then fails for ever."""

    def __init__(self, frames: int, gate: threading.Semaphore | None = None) -> None:
        self.left = frames
        self.gate = gate
        self.number = 0
        self.released = False

    def read(self) -> tuple[bool, Any]:
        if self.gate is not None and not self.gate.acquire(timeout=0.05):
            return False, None
        if self.number == self.left:
            return False, None
        self.number += 1
        return True, np.full((4, 6, 3), self.number, dtype=np.uint8)

    def release(self) -> None:
        self.released = True


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_camera_gives_the_freshest_frame_and_counts_the_rest() -> None:
    gate = threading.Semaphore(0)
    capture = FakeCapture(100, gate)
    source = CameraSource(0, lambda device: capture)
    frames: Iterator[Any] = source.frames()
    gate.release(1)
    started = time.monotonic()
    first = next(frames)
    assert (first.index, first.time) == (0, None)
    assert started <= first.captured <= time.monotonic()
    assert (source.is_live, source.is_still) == (True, False)
    gate.release(5)  # five arrive while nobody fetches
    wait_until(lambda: capture.number == 6 and source.dropped == 4)
    frame = next(frames)
    assert frame.index == 5
    assert frame.image[0, 0, 0] == 6
    assert source.dropped == 4
    source.close()
    assert list(frames) == []
    gate.release(1)
    wait_until(lambda: capture.released)
    source.close()


def test_camera_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "_PATIENCE", 0.1)
    source = CameraSource(0, lambda device: FakeCapture(3))
    with pytest.raises(SourceError, match="camera 0 stopped delivering frames after 3"):
        list(source.frames())
    source.close()


def test_camera_whose_driver_raises() -> None:
    capture = FakeCapture(3)
    capture.read = lambda: (_ for _ in ()).throw(RuntimeError("bus error"))  # type: ignore[method-assign]
    source = CameraSource(1, lambda device: capture)
    with pytest.raises(SourceError, match="camera 1 failed after 0 frames: bus error"):
        list(source.frames())
    wait_until(lambda: capture.released)


def test_silent_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "_SILENCE", 0.1)
    source = CameraSource(0, lambda device: FakeCapture(3, threading.Semaphore(0)))
    with pytest.raises(SourceError, match="gave no frame for"):
        list(source.frames())


def test_missing_camera_is_one_clear_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SourceError, match=r"camera 77") as caught:
        CameraSource(77).open()
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_a_camera_that_was_only_opened_is_released() -> None:
    capture = FakeCapture(3)
    source = CameraSource(0, lambda device: capture)
    source.open()
    source.open()
    source.close()
    assert capture.released


def test_noise_is_hidden_only_inside(capfd: pytest.CaptureFixture[str]) -> None:
    import os

    with native_noise_hidden():
        os.write(2, b"noise")
    os.write(2, b"speech")
    assert capfd.readouterr().err == "speech"


def test_picture_source(tmp_path: Path) -> None:
    source = PictureSource(write(tmp_path / "a.png"))
    source.open()
    assert [frame.index for frame in source.frames()] == [0]
    source.close()


def test_a_picture_of_a_turned_camera_is_set_upright(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image", reason="Pillow writes the EXIF data of this test")
    lying = np.zeros((40, 60, 3), dtype=np.uint8)
    lying[:, :30] = 255  # bright on the left
    exif = pillow.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    pillow.fromarray(lying).save(tmp_path / "turned.jpg", exif=exif)
    upright = read_picture(tmp_path / "turned.jpg")
    assert upright.shape == (60, 40, 3)
    assert upright[:20].min() > 200  # now bright at the top
    assert upright[40:].max() < 50
