"""The stream as Python users have it: a loop over labelled frames, with a real model."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from ifseg_rt import Observer, Segmenter, SourceSettings, StreamPolicy
from ifseg_rt.errors import SourceError, UsageError
from ifseg_rt.sources.base import Event, Source
from ifseg_rt.stream.counts import Counts

from .scripted import our_threads


class Log(Observer):
    def __init__(self) -> None:
        self.said: list[str] = []
        self.closed: list[tuple[str, int]] = []

    def event(self, source: Source, event: Event) -> None:
        self.said.append(event.kind)

    def note(self, text: str) -> None:
        self.said.append(text)

    def error(self, text: str, hint: str | None = None) -> None:
        self.said.append(text)

    def source_closed(self, source: Source, counts: Counts) -> None:
        self.closed.append((source.name, counts.frames))


def test_frames_of_a_live_source(model_path: Path) -> None:
    with Segmenter(model_path) as segmenter:
        policy = StreamPolicy(max_frames=5)
        seen = list(segmenter.stream("test:64x48@50", policy=policy))
        assert len(seen) == 5
        again = segmenter(seen[-1].frame.image)
    assert np.array_equal(again.labels, seen[-1].result.labels)
    assert all(0 <= one.latency_ms < 2000 for one in seen)
    assert seen[-1].source.name == "test:64x48@50"
    assert not our_threads()


def test_leaving_the_loop_frees_everything(model_path: Path) -> None:
    with Segmenter(model_path) as segmenter:
        for _ in segmenter.stream("test:64x48@50"):
            break
        started = time.monotonic()
        assert not our_threads()
        assert time.monotonic() - started < 2
        with segmenter.stream("test:64x48@50") as frames:
            next(iter(frames))
        assert not our_threads()


def test_folders_and_files_one_of_them_broken(model_path: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((20, 30, 3), np.uint8))
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing more")
    (tmp_path / "notes.txt").write_text("x")
    log = Log()
    names = []
    with Segmenter(model_path) as segmenter, pytest.raises(SourceError, match="1 of 3 sources failed"):
        for seen in segmenter.stream(tmp_path, observer=log):
            names.append(Path(seen.source.name).name)
    assert names == ["a.png", "b.png"]
    assert any("notes.txt" in text for text in log.said)
    assert any("cut.jpg" in text for text in log.said)
    assert [frames for _, frames in log.closed] == [1, 1, 0]


def test_what_does_not_exist_is_told_at_once(model_path: Path) -> None:
    with Segmenter(model_path) as segmenter:
        with pytest.raises(SourceError, match="there is no file"):
            segmenter.stream("missing.mp4")
        with pytest.raises(UsageError):
            segmenter.stream("test:nonsense")
        started = time.monotonic()
        with pytest.raises(SourceError):
            list(segmenter.stream("rtsp://127.0.0.1:9/none", settings=SourceSettings(open_timeout=0.5)))
        assert time.monotonic() - started < 3


def test_leaving_the_process_while_threads_label(model_path: Path) -> None:
    program = (
        "import sys, threading, time, numpy as np\n"
        "from ifseg_rt import Segmenter\n"
        f"segmenter = Segmenter({str(model_path)!r})\n"
        "def label():\n"
        "    while True:\n"
        "        segmenter(np.zeros((480, 640, 3), np.uint8))\n"
        "threads = [threading.Thread(target=label, daemon=True) for _ in range(3)]\n"
        "[thread.start() for thread in threads]\n"
        "frames = iter(segmenter.stream('test:64x48@50'))\n"
        "next(frames)\n"
        "sys.exit(7)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 7, done.stderr
