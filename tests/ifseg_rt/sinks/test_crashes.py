"""Full disks and killed processes: what a line of JSON names is in its file, and the file can be read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ifseg_rt.sinks.label_video import read_label_video
from tests.ifseg_rt.sinks.made_up import count_by_opencv, seen

# Writes 60 frames of noise with one sink and prints one line for each that is stored; argv: kind, file, then either
# "limit" and a number of bytes, "kill" and a number of frames, or "none".
PROGRAM = """
import os, resource, signal, sys
import numpy as np
from pathlib import Path
from ifseg_rt.sinks.base import SinkError
from ifseg_rt.sinks.coco import CocoSink
from ifseg_rt.sinks.label_video import LabelVideoSink
from ifseg_rt.sinks.placing.files import Place
from ifseg_rt.sinks.videos import VideoSink
from ifseg_rt.sources.base import Frame
from tests.ifseg_rt.sinks.made_up import result_of

kind, path, how, number = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
if how == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (number, number))
made = {"video": VideoSink, "labels": LabelVideoSink, "coco": lambda place: CocoSink(place, "a.mp4", still=False)}
sink = made[kind](Place(path))
stored, refused = 0, []
random = np.random.default_rng(0)
for index in range(60):
    picture = random.integers(0, 256, (64, 96, 3), dtype=np.uint8)
    result = result_of(picture[:, :, 0] % 3)
    try:
        sink.write(Frame(picture, index, time=index / 25), result, picture)
    except SinkError as error:
        refused.append(str(error))
        break
    stored += 1
    print(stored, flush=True)
    if how == "kill" and stored == number:
        os.kill(os.getpid(), signal.SIGKILL)
try:
    sink.close()
except SinkError as error:
    refused.append(str(error))
print("left", *sink.left_at.values())
print("refused", *refused)
"""
Run = Callable[..., "subprocess.CompletedProcess[str]"]
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of file sizes as Linux has them")


def stored_by(answer: subprocess.CompletedProcess[str]) -> int:
    assert not answer.stderr, answer.stderr
    return sum(line.isdecimal() for line in answer.stdout.splitlines())


@linux
@pytest.mark.parametrize(
    ("name", "limit"),
    [("v.mp4", 100), ("v.mp4", 3_000), ("v.mp4", 40_000), ("v.mp4", 200_000), ("v.mkv", 40_000), ("v.avi", 200_000)],
)
def test_a_video_on_a_full_disk_holds_what_was_stored(tmp_path: Path, run_script: Run, name: str, limit: int) -> None:
    answer = run_script(PROGRAM, "video", tmp_path / name, "limit", limit)
    stored = stored_by(answer)
    assert stored < 60
    assert "File too large" in answer.stdout
    if stored == 0:
        assert not list(tmp_path.iterdir())
        return
    (path,) = tmp_path.iterdir()
    assert path.name == name or "partial" in path.name
    assert seen(path)[0] == pytest.approx([index / 25 for index in range(stored)], abs=0.001) or name == "v.avi"
    assert count_by_opencv(path) == stored


@linux
def test_room_for_the_recording_but_not_for_its_index(tmp_path: Path, run_script: Run) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    assert stored_by(run_script(PROGRAM, "video", whole / "v.mp4", "none", 0)) == 60
    # The finished copy is smaller than the recording, so a disk that holds one file and a half is what it takes.
    size = (whole / "v.mp4").stat().st_size
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a small file system can be mounted by root only")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size * 3 // 2}", "none", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    try:
        answer = run_script(PROGRAM, "video", disk / "v.mp4", "none", 0)
        assert stored_by(answer) == 60
        assert answer.stdout.endswith("left\nrefused\n")
        assert [path.name for path in disk.iterdir()] == ["v.mp4"]
        assert count_by_opencv(disk / "v.mp4") == 60
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@linux
def test_label_video_and_coco_on_a_full_disk(tmp_path: Path, run_script: Run) -> None:
    stored = stored_by(run_script(PROGRAM, "labels", tmp_path / "l.mkv", "limit", 30_000))
    assert 0 < stored < 60
    assert len(list(read_label_video(tmp_path / "l.mkv"))) == stored
    stored = stored_by(run_script(PROGRAM, "coco", tmp_path / "c.json", "limit", 60_000))
    assert 0 < stored < 60
    (left,) = tmp_path.glob("c*")
    content = left.read_text()
    images = json.loads(content)["images"] if left.suffix == ".json" else content.splitlines()
    assert len(images) == stored


@pytest.mark.parametrize("name", ["v.mp4", "v.mov", "v.mkv", "v.avi"])
def test_a_killed_process_leaves_every_stored_frame(tmp_path: Path, run_script: Run, name: str) -> None:
    answer = run_script(PROGRAM, "video", tmp_path / name, "kill", 23)
    assert stored_by(answer) == 23
    (path,) = tmp_path.iterdir()
    assert "partial" in path.name
    np.testing.assert_allclose(seen(path)[0], [index / 25 for index in range(23)], atol=0.001)
    assert count_by_opencv(path) == 23


def test_a_killed_process_leaves_labels_and_segments(tmp_path: Path, run_script: Run) -> None:
    run_script(PROGRAM, "labels", tmp_path / "l.mkv", "kill", 9)
    run_script(PROGRAM, "coco", tmp_path / "c.json", "kill", 9)
    assert len(list(read_label_video(tmp_path / "l.partial.mkv"))) == 9
    assert [json.loads(line)["image"]["id"] for line in (tmp_path / "c.partial.jsonl").open()] == list(range(9))


@linux
def test_a_full_disk_ends_the_records_with_a_whole_line_and_says_so_once(tmp_path: Path, run_script: Run) -> None:
    program = """
import resource, sys
from ifseg_rt.sinks.outputs import Outputs
outputs = Outputs(sys.argv[1], [], note=lambda text: print(text))
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for frame in range(50):
    outputs.record({"source": "a", "frame": frame, "long": "x" * 100})
outputs.close()
sys.exit(0 if outputs.failed is None else 7)
"""
    answer = run_script(program, tmp_path)
    assert (answer.returncode, answer.stderr) == (7, "")
    assert answer.stdout.count("File too large") == answer.stdout.count("\n") == 1
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").open()]
    assert [row["frame"] for row in rows] == list(range(len(rows)))
    assert 5 < len(rows) < 10
