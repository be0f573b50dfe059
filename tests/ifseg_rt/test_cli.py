"""The command: what it writes, what it says, and the code it ends with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import ifseg_rt
from ifseg_rt.cli import main
from ifseg_rt.sources import camera

ROOT = Path(ifseg_rt.__file__).parents[1]


@pytest.fixture(autouse=True)
def _no_display(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def pictures(tmp_path: Path, scene: np.ndarray) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    cv2.imwrite(str(folder / "one.png"), scene)
    cv2.imwrite(str(folder / "two.png"), scene[:, ::-1])
    return folder


@pytest.fixture
def clip(tmp_path: Path, scene: np.ndarray) -> Path:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 12.0, (180, 120))
    for shift in range(10):
        writer.write(np.roll(scene, shift * 5, axis=1))
    writer.release()
    return path


@pytest.fixture
def run(model_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run the command in this process; gives code, JSON lines and standard error."""

    def call(*arguments: str | Path, model: Path | None = model_path) -> tuple[int, list[dict[str, Any]], str]:
        chosen = [] if model is None else ["--model", str(model), "--threads", "1"]
        code = main([*map(str, arguments), *chosen])
        out, err = capfd.readouterr()
        return code, [json.loads(line) for line in out.splitlines()], err

    return call


def subprocess_run(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "ifseg_rt", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, **options)


def test_one_picture_goes_to_the_default_folder(run: Any, pictures: Path, scene: np.ndarray) -> None:
    code, lines, err = run(pictures / "one.png")
    assert code == 0, err
    assert "writing to ifseg-rt-output/" in err
    assert "no window: there is no display" in err
    (line,) = lines
    assert line["source"].endswith("one.png")
    assert line["frame"] == 0
    assert line["size"] == {"width": 180, "height": 120}
    assert list(line["shares"].values()) == sorted(line["shares"].values(), reverse=True)
    assert {"read", "preprocess", "inference", "upsampling", "draw", "write", "total"} <= set(line["timings_ms"])
    labels = cv2.imread(line["outputs"]["labels"], cv2.IMREAD_UNCHANGED)
    assert labels.shape == (120, 180)
    assert [labels[60, x] for x in (10, 90, 170)] == [0, 1, 2]
    assert cv2.imread(line["outputs"]["overlay"]).shape == scene.shape
    stored = [json.loads(text) for text in Path("ifseg-rt-output/results.jsonl").read_text().splitlines()]
    assert stored == lines


def test_picture_output_by_name(run: Any, pictures: Path) -> None:
    code, lines, err = run(pictures / "one.png", "--output", "new/over.png", "--quiet", "--alpha", "1")
    assert (code, err) == (0, "")
    assert lines[0]["outputs"] == {"overlay": "new/over.png", "labels": "new/over_labels.png"}
    assert tuple(cv2.imread("new/over.png")[100, 10]) == (0, 0, 255)


def test_folder_with_a_corrupt_picture(run: Any, pictures: Path) -> None:
    (pictures / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    (pictures / "readme.txt").write_text("x")
    code, lines, err = run(pictures, "--output", "out/")
    assert code == 3
    assert [Path(line["source"]).name for line in lines] == ["one.png", "two.png"]
    assert "broken.jpg is not a readable picture" in err
    assert "error: 1 of 3 sources failed" in err
    assert "neither pictures nor videos: 1 files" in err
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "one_labels.png",
        "one_overlay.jpg",
        "results.jsonl",
        "two_labels.png",
        "two_overlay.jpg",
    ]


def test_a_single_corrupt_picture_is_the_error(run: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    code, lines, err = run("broken.jpg")
    assert (code, lines) == (3, [])
    assert err.count("error:") == 1


def test_same_names_do_not_overwrite_each_other(run: Any, pictures: Path, tmp_path: Path, scene: np.ndarray) -> None:
    other = tmp_path / "other"
    other.mkdir()
    cv2.imwrite(str(other / "one.png"), scene)
    code, lines, _ = run(pictures / "one.png", other / "one.png")
    assert code == 0
    assert len({line["outputs"]["overlay"] for line in lines}) == 2


def test_video_to_video(run: Any, clip: Path) -> None:
    code, lines, err = run(clip, "-o", "out.mp4")
    assert code == 0, err
    assert [line["frame"] for line in lines] == list(range(10))
    assert "10 frames" in err
    made = cv2.VideoCapture("out.mp4")
    assert made.get(cv2.CAP_PROP_FPS) == pytest.approx(12.0)
    assert made.get(cv2.CAP_PROP_FRAME_COUNT) == 10
    assert not Path("ifseg-rt-output").exists()


def test_video_to_a_folder_with_a_limit(run: Any, clip: Path) -> None:
    code, lines, _ = run(clip, "-o", "out", "--max-frames", "3")
    assert code == 0
    assert len(lines) == 3
    assert sorted(path.name for path in Path("out").iterdir()) == ["clip_overlay.mp4", "results.jsonl"]


class FakeCamera:
    def __init__(self, frames: int) -> None:
        self.left = frames

    def read(self) -> tuple[bool, Any]:
        time.sleep(0.01)
        self.left -= 1
        return (True, np.zeros((48, 64, 3), np.uint8)) if self.left >= 0 else (False, None)

    def release(self) -> None:
        pass


def test_camera(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "_open_capture", lambda device: FakeCamera(500))
    code, lines, err = run("--camera", "0", "--max-frames", "12", "-o", "cam.mp4")
    assert code == 0, err
    assert len(lines) == 12
    assert all(line["source"] == "camera 0" and "dropped" in line for line in lines)
    assert "dropped" in err
    assert cv2.VideoCapture("cam.mp4").get(cv2.CAP_PROP_FRAME_COUNT) == 12


def test_camera_without_output_saves_nothing_and_says_so(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "_open_capture", lambda device: FakeCamera(500))
    code, lines, err = run("--camera", "0", "--max-frames", "2")
    assert code == 0
    assert [line["outputs"] for line in lines] == [{}, {}]
    assert "nothing is saved either" in err
    assert not Path("ifseg-rt-output").exists()


def test_camera_unplugged_finishes_the_recording(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "_open_capture", lambda device: FakeCamera(4))
    monkeypatch.setattr(camera, "_PATIENCE", 0.05)
    code, lines, err = run("--camera", "0", "-o", "cam.mp4")
    assert code == 3
    assert "error: camera 0 stopped delivering frames" in err
    assert cv2.VideoCapture("cam.mp4").get(cv2.CAP_PROP_FRAME_COUNT) == len(lines) > 0


@pytest.mark.skipif(Path("/dev/video0").exists(), reason="this machine has a camera")
def test_missing_camera_is_one_line_and_its_code(model_path: Path) -> None:
    done = subprocess_run("--camera", "0", "--model", model_path)
    assert done.returncode == 3
    error, hint = done.stderr.splitlines()
    assert error.startswith("error: there is no camera 0 (/dev/video0);")
    assert hint.startswith("hint: ")


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        ([], 2, "nothing to label"),
        (["--nonsense"], 2, "--nonsense"),
        (["x.png", "--camera", "0"], 2, "not both"),
        (["x.png", "--alpha", "2"], 2, "from 0 to 1"),
        (["x.png", "--refine", "3"], 2, "like 3,25"),
        (["x.png", "--no-refine", "--refine", "3,5"], 2, "not allowed with"),
        (["x.png", "--threads", "0"], 2, "at least 1"),
        (["x.png", "--device", "tpu"], 2, "invalid choice"),
        (["x.png", "--size", "384x512"], 2, "only has a meaning with --categories"),
        (["x.png", "--steps", "5"], 2, "only has a meaning with --categories"),
        (["x.png", "--categories", "a", "--categories-file", "b"], 2, "exclude each other"),
        (["x.png", "--model", "m.onnx", "--categories", "a"], 2, "exclude each other"),
        (["x.png", "--categories", "a", "--size", "8"], 2, "at least 16 x 16"),
        (["missing.png"], 3, "there is no file or folder missing.png"),
        (["missing/*.png"], 3, "no picture or video matches"),
        (["{picture}", "--model", "none.onnx"], 4, "there is no model file none.onnx"),
        (["{picture}", "--model", "ckpt.pt"], 4, "is a checkpoint"),
        (["{picture}", "--model", "model.engine"], 4, "there is no engine model.engine"),
        (["{picture}", "--rebuild"], 2, "--rebuild only has a meaning with --model"),
        (["{picture}", "--model", "{model}", "--rebuild"], 2, "only engines are rebuilt"),
        (["rebuild", "none.onnx"], 4, "none.onnx"),
        (["rebuild", "none.pt"], 2, "neither an ONNX model nor an engine"),
        (["rebuild"], 2, "MODEL"),
        (["{picture}", "--model", "{model}", "--refine", "9,9"], 2, "1 to 5 neighbours"),
        (["{picture}", "--model", "{model}", "-o", "out.mp4"], 2, "is a video, but"),
        (["{picture}", "--model", "{model}", "-o", "out.xyz"], 2, "for a folder of that name: --output out.xyz/"),
        (["{picture}", "--model", "{model}", "-o", "{picture}"], 2, "would overwrite the source"),
        (["{picture}", "{picture}", "--model", "{model}", "-o", "o.png"], 2, "there are 2 sources"),
        (["{clip}", "--model", "{model}", "-o", "o.png"], 2, "is a picture, but"),
        (["{picture}", "--model", "{model}", "-o", "{clip}/deep/"], 1, "cannot make the output folder"),
        (["{picture}", "--categories", "sky,,road"], 8, "category 2 has an empty word"),
        (["{picture}", "--categories", "sky, sky"], 8, "'sky' is given twice"),
        (["{picture}", "--categories-file", "none.txt"], 2, "cannot read the category file"),
    ],
)
def test_errors_and_their_codes(
    run: Any, pictures: Path, clip: Path, model_path: Path, arguments: list[str], code: int, reason: str
) -> None:
    names = {"picture": pictures / "one.png", "clip": clip, "model": model_path}
    found, lines, err = run(*(argument.format(**names) for argument in arguments), model=None)
    assert (found, lines) == (code, []), err
    assert reason in err
    assert "Traceback" not in err
    assert sum(line.startswith("error: ") for line in err.splitlines()) == 1


def test_damaged_model_is_code_4(run: Any, pictures: Path, own_model: Path) -> None:
    own_model.write_bytes(own_model.read_bytes()[:-1])
    code, _, err = run(pictures / "one.png", model=own_model)
    assert code == 4
    assert "expected" in err


def test_missing_runtime_is_code_5(run: Any, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    code, _, err = run(pictures / "one.png")
    assert code == 5
    assert 'hint: pip install "ifseg-rt[cpu]"' in err


def test_debug_lets_the_traceback_through(run: Any) -> None:
    with pytest.raises(ifseg_rt.IfsegError):
        run("missing.png", "--debug")


def test_bugs_are_one_line_too(run: Any, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("surprise")

    monkeypatch.setattr("ifseg_rt.host_path.upsample_labels", broken)
    code, _, err = run(pictures / "one.png")
    assert code == 1
    assert "error: unexpected RuntimeError: surprise" in err
    assert "--debug" in err


def test_refinement_options_change_the_result(run: Any, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    cv2.imwrite("noise.png", noise)
    shares = [run("noise.png", *options)[1][0]["shares"] for options in ([], ["--no-refine"], ["--refine", "5,40"])]
    assert shares[0] != shares[1]
    assert shares[0] != shares[2]


def test_help_and_version_are_fast_and_light() -> None:
    best = 9.0
    for _ in range(3):
        started = time.perf_counter()
        done = subprocess_run("--help")
        best = min(best, time.perf_counter() - started)
    assert done.returncode == 0
    assert "exit codes:" in done.stdout
    assert best < 0.3
    version = subprocess_run("--version")
    assert (version.returncode, version.stdout.split()) == (0, ["ifseg-rt", ifseg_rt.__version__])
    probe = (
        "import sys; from ifseg_rt.cli import main; main(['--help']); print('numpy' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stderr.strip() == "False"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_runs_finish_their_video(
    tmp_path: Path, model_path: Path, scene: np.ndarray, number: signal.Signals, code: int
) -> None:
    long = tmp_path / "long.avi"
    writer = cv2.VideoWriter(str(long), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (180, 120))
    for _ in range(3000):
        writer.write(scene)
    writer.release()
    command = [sys.executable, "-m", "ifseg_rt", str(long), "--model", str(model_path), "-o", "out.mp4"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    # A test run started in the background of a script ignores SIGINT, and its children inherit that.
    def default_interrupt() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)

    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=tmp_path,
        preexec_fn=default_interrupt,
    ) as child:
        assert child.stdout is not None
        for _ in range(5):
            assert child.stdout.readline()
        child.send_signal(number)
        err = child.communicate(timeout=30)[1]
    assert child.returncode == code, err
    assert "Traceback" not in err
    made = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    assert made.isOpened()
    assert 5 <= made.get(cv2.CAP_PROP_FRAME_COUNT) < 3000


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path, model_path: Path, clip: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    line = f"{sys.executable} -m ifseg_rt {clip} --model {model_path} -o out.mp4 | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.splitlines()[-1] == "0"
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
