"""The command: results on stdout, console on stderr, one clear line and its exit code for every mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import util
from pathlib import Path

import numpy as np
import pytest

from export.parity import graph as parity
from export.to_onnx import main
from ifseg_rt import Segmenter

ROOT = Path(__file__).resolve().parents[2]
OLD = '{"kind": "ifseg-rt-artifact", "name": "an old sidecar"}'


def test_checkpoint_to_masks(
    own_checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], root: Path
) -> None:
    target = tmp_path / "model.onnx"
    assert main([str(own_checkpoint), "-o", str(target), "--rounds", "2"]) == 0
    said = capfd.readouterr()
    result = json.loads(said.out)
    assert said.out.count("\n") == 1
    assert result["artifact"] == str(target)
    assert (result["size"], result["grid"], result["categories"]) == ([96, 128], [6, 8], 4)
    assert result["parity"]["label_agreement"] >= 0.999
    assert result["bytes"] == target.stat().st_size
    lines = said.err.splitlines()
    assert lines[0].startswith("loading ")
    assert lines[-1].startswith(f"wrote {target}")
    assert "Warning" not in said.err
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.json", "model.onnx"]

    frame = np.random.default_rng(0).integers(0, 255, (90, 150, 3), dtype=np.uint8)
    with Segmenter(target, device="cpu", threads=1) as segmenter:
        assert segmenter.categories == ("sky", "road", "tree", "car")
        assert segmenter(frame).labels.shape == (90, 150)
        assert segmenter.artifact.provenance["steps"] == 5
        assert len(str(segmenter.artifact.provenance["checkpoint_sha256"])) == 64


def test_other_categories_and_a_refused_result(
    own_checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "model.onnx"
    target.write_bytes(b"old model")
    target.with_suffix(".json").write_text(OLD)
    monkeypatch.setattr(parity, "LOGIT_TOLERANCE", -1.0)
    arguments = [str(own_checkpoint), "-o", str(target), "--size", "64", "--rounds", "0", "--quiet"]
    arguments += ["--categories", "car, sky"]
    assert main(arguments) == 6
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: the exported graph does not compute the same as the model")
    assert target.read_bytes() == b"old model"
    assert target.with_suffix(".json").read_text() == OLD
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.json", "model.onnx"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--size", "16"], 2, "16x16"),
        (["--size", "4096"], 2, "patches"),
        (["--batch", "0"], 2, "batch"),
        (["--neighbours", "99"], 2, "neighbours"),
        (["--rounds", "-1"], 2, "rounds"),
        (["--opset", "7"], 2, "18, 20"),
        (["-o", "model.pt"], 2, "must end in .onnx"),
        (["-o", "missing/model.onnx"], 2, "does not exist"),
        (["--categories", "sky", "--categories-file", "x"], 2, "not allowed with"),
        (["--pictures", "missing"], 3, "no folder of pictures"),
        (["--categories", "sky, zebra"], 8, "zebra"),
        (["--unknown"], 2, "unrecognized"),
    ],
)
def test_mistakes(
    own_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    if "-o" not in arguments:
        arguments = [*arguments, "-o", "model.onnx"]
    assert main([str(own_checkpoint), *arguments, "--quiet"]) == code
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert message in said.err
    assert "Traceback" not in said.err
    assert not list(tmp_path.iterdir())


def test_foreign_checkpoints(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    foreign = tmp_path / "notes.pt"
    foreign.write_text("hello")
    assert main([str(foreign), "-q"]) == 7
    assert main([str(tmp_path / "missing.pt"), "-o", str(tmp_path / "m.onnx"), "-q"]) == 7
    assert capfd.readouterr().err.count("error: ") == 2
    assert [file.name for file in tmp_path.iterdir()] == ["notes.pt"]


def test_help_is_quick_because_it_loads_nothing_heavy(root: Path) -> None:
    program = (
        "import sys; from export.to_onnx import main; code = main(['--help']); "
        "sys.exit(code or any(name in sys.modules for name in ('torch', 'onnx', 'onnxruntime', 'cv2', 'numpy')))"
    )
    answer = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert "exit codes" in answer.stdout
    assert answer.stderr == ""


@pytest.mark.parametrize(("missing", "extras"), [("onnxscript", "export,train"), ("onnxruntime", "cpu,export,train")])
def test_what_is_not_installed_is_named(
    own_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], missing: str, extras: str
) -> None:
    find = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name, *more: None if name == missing else find(name, *more))
    assert main([str(own_checkpoint), "-q"]) == 6
    said = capfd.readouterr().err
    assert said == f'error: an export needs: {missing}\nhint: pip install "ifseg-rt[{extras}]"\n'


def test_what_is_not_ours_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    foreign = tmp_path / "package.json"
    foreign.write_text('{"my": "settings"}')
    (tmp_path / "link.onnx").symlink_to("elsewhere")
    for name, words in (("package.onnx", "not a sidecar of ours"), ("link.onnx", "is a link")):
        assert main(["micro", "--categories", "sky", "-o", str(tmp_path / name)]) == 2
        assert words in capsys.readouterr().err
    assert foreign.read_text() == '{"my": "settings"}'
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["link.onnx", "package.json"]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no limits of files")
def test_a_full_disk_leaves_nothing_behind(own_checkpoint: Path, tmp_path: Path) -> None:
    program = (
        "import resource, sys\n"
        "from export.to_onnx import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    target = tmp_path / "model.onnx"
    command = [sys.executable, "-c", program, str(own_checkpoint), "-o", str(target), "--size", "64", "--quiet"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert ended.returncode == 1
    assert f"error: cannot write {target}: " in ended.stderr
    assert not list(tmp_path.iterdir())
