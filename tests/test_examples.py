"""Every script in ``examples`` is run as a user would run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "ifseg_rt" / "assets" / "sample.jpg"
FRAMES = 2


def run(name: str, *arguments: str | Path, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, str(ROOT / "examples" / name), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, input=given, env=environment, capture_output=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a video of the sample picture."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    picture = cv2.imread(str(SAMPLE))
    height, width = picture.shape[:2]
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (width, height))
    for shift in range(FRAMES):
        video.write(np.roll(picture, 8 * shift, axis=1))
    video.release()
    return path


def test_folder_gives_one_mask_per_picture(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.jpg").write_bytes(SAMPLE.read_bytes())
    (tmp_path / "pictures" / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "pictures" / "notes.txt").write_text("no picture")
    answer = run("masks_of_a_folder.py", tmp_path / "pictures", tmp_path / "masks", "sky")
    assert answer.returncode == 0, answer.stderr.decode()
    assert [path.name for path in (tmp_path / "masks").iterdir()] == ["a.png"]
    mask = cv2.imread(str(tmp_path / "masks" / "a.png"), cv2.IMREAD_GRAYSCALE)
    assert mask.shape == cv2.imread(str(SAMPLE)).shape[:2]
    assert mask[0].mean() > mask[-1].mean(), "the sky is at the top"


def test_camera_loop_takes_a_video(clip: Path) -> None:
    answer = run("camera_loop.py", clip)
    assert answer.returncode == 0, answer.stderr.decode()
    lines = answer.stdout.decode().splitlines()
    assert len(lines) == FRAMES
    assert all(line.startswith("sky") for line in lines)


def test_two_videos_share_a_segmenter(clip: Path) -> None:
    answer = run("two_videos.py", clip, clip)
    assert answer.returncode == 0, answer.stderr.decode()
    assert answer.stdout.decode().count(f"{{'sky': {FRAMES}}}") == 2


def test_picture_from_bytes_gives_shares() -> None:
    answer = run("picture_from_bytes.py", given=SAMPLE.read_bytes())
    assert answer.returncode == 0, answer.stderr.decode()
    shares = json.loads(answer.stdout)
    assert sum(shares.values()) == pytest.approx(1.0, abs=1e-2)
    assert run("picture_from_bytes.py", given=b"").returncode == 1


def test_frames_of_torch_need_a_gpu() -> None:
    torch = pytest.importorskip("torch")
    answer = run("torch_frames_on_gpu.py")
    if not torch.cuda.is_available():
        assert b"needs an NVIDIA GPU" in answer.stderr
        pytest.skip("the rest of this example needs a CUDA device")
    assert answer.returncode == 0, answer.stderr.decode()


def test_every_example_is_named_in_a_test() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert [path.name for path in (ROOT / "examples").glob("*.py") if f'"{path.name}"' not in text] == []
