"""What the command says when something is wrong, and the code it ends with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import ifseg_rt


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
        (["x.png", "--save", "overlay,jpeg"], 2, "found 'jpeg'"),
        (["x.png", "--max-staleness", "0"], 2, "above 0"),
        (["0", "--camera-size", "720p"], 2, "like 1280x720"),
        (["0", "--camera-format", "MJPEG"], 2, "four letters"),
        (["test:640"], 2, "test:WIDTHxHEIGHT@FPS"),
        (["gopher://host/x"], 2, "rtsp"),
        (["x.png", "--device", "tpu"], 2, "cuda:N or tensorrt:N for GPU N; found 'tpu'"),
        (["x.png", "--device", "cuda:first"], 2, "found 'cuda:first'"),
        (["x.png", "--size", "384x512"], 2, "needs --categories"),
        (["x.png", "--steps", "5"], 2, "needs --categories"),
        (["x.png", "--categories", "a", "--categories-file", "b"], 2, "cannot be combined"),
        (["x.png", "--model", "m.onnx", "--categories", "a"], 2, "cannot be combined"),
        (["x.png", "--categories", "a", "--size", "16"], 2, "outside 32..4096"),
        (["missing.png"], 3, "there is no file or folder missing.png"),
        (["missing/*.png"], 3, "no picture or video matches"),
        (["{picture}", "--model", "none.onnx"], 4, "there is no model file none.onnx"),
        (["{picture}", "--model", "ckpt.pt"], 4, "is a checkpoint"),
        (["{picture}", "--model", "model.engine"], 4, "there is no engine model.engine"),
        (["{picture}", "--rebuild"], 2, "--rebuild needs --model"),
        (["{picture}", "--model", "{model}", "--rebuild"], 2, "only engines are rebuilt"),
        (["rebuild", "none.onnx"], 4, "none.onnx"),
        (["rebuild", "none.pt"], 2, "neither an ONNX model nor an engine"),
        (["rebuild"], 2, "MODEL"),
        (["{picture}", "--model", "{model}", "--refine", "9,9"], 2, "1 to 5 neighbours"),
        (["{picture}", "--model", "{model}", "-o", "out.mp4"], 2, "is a video, but"),
        (["{picture}", "--model", "{model}", "-o", "out.xyz"], 2, "for a folder of that name: --output out.xyz/"),
        (["{picture}", "--model", "{model}", "-o", "{picture}"], 2, "would overwrite the source"),
        (["{picture}", "{clip}", "--model", "{model}", "-o", "o.png"], 2, "there are 2 sources"),
        (["{clip}", "--model", "{model}", "-o", "o.png"], 2, "is a picture, but"),
        (["{picture}", "--model", "{model}", "-o", "{clip}/deep/"], 1, "deep: Not a directory"),
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
    assert err.startswith("error: "), "nothing is said before it"


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

    monkeypatch.setattr("ifseg_rt.host.runner.upsample_labels", broken)
    code, _, err = run(pictures / "one.png")
    assert code == 1
    assert "error: unexpected RuntimeError: surprise" in err
    assert "--debug" in err


@pytest.mark.skipif(Path("/dev/video0").exists(), reason="this machine has a camera")
def test_missing_camera_is_one_line_and_its_code(run_process: Any, model_path: Path) -> None:
    done = run_process("--camera", "0", "--model", model_path)
    assert done.returncode == 3
    error, hint = done.stderr.splitlines()
    assert error.startswith("error: there is no camera 0 (/dev/video0);")
    assert hint.startswith("hint: ")
