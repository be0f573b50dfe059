"""The command: real engines from small models without a GPU, one clear line and its exit code for every mistake."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from export.parity import comparison
from export.products.onnx_model import Exported
from export.to_trt import main
from ifseg_rt import Segmenter
from ifseg_rt.artifact.sidecar import read_artifact
from ifseg_rt.errors import DeviceError
from ifseg_rt.machine import this_machine
from ifseg_rt.tensorrt.building import write as make
from ifseg_rt.tensorrt.installed import find_tensorrt
from ifseg_rt.tensorrt.sidecar import read_engine
from train.checkpoints.own import save_checkpoint
from train.loaded_model import LoadedModel, checkpoint_of
from train.models.ofa.model import IFSegModel

RTX = ["--runtime", "tensorrt_rtx"]


@pytest.fixture(scope="module", autouse=True)
def rtx() -> None:
    try:
        find_tensorrt("tensorrt_rtx")
    except DeviceError as error:
        pytest.skip(f"engines are not built: {error}")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IFSEG_RT_CACHE", str(tmp_path_factory.mktemp("cache")))


@dataclass(frozen=True)
class Made:
    """What the command wrote and said for two sizes."""

    folder: Path
    results: list[dict[str, Any]]
    lines: list[str]

    @property
    def onnx(self) -> Path:
        return self.folder / "street-64x64.onnx"

    @property
    def engine(self) -> Path:
        return self.folder / "street-64x64.engine"


@pytest.fixture(scope="module")
def made(own_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("made")
    target = folder / "street.engine"
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        assert main([str(own_checkpoint), "-o", str(target), "--size", "64", "48x80", "--rounds", "1", *RTX]) == 0
    return Made(folder, [json.loads(line) for line in out.getvalue().splitlines()], err.getvalue().splitlines())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def no_gpu() -> bool:
    return this_machine().gpu is None


def test_checkpoint_to_engines(made: Made) -> None:
    assert [result["engine"] for result in made.results] == [
        str(made.folder / "street-64x64.engine"),
        str(made.folder / "street-48x80.engine"),
    ]
    assert names(made.folder) == sorted(
        f"street-{size}.{suffix}" for size in ("64x64", "48x80") for suffix in ("engine", "engine.json", "onnx", "json")
    )
    for result in made.results:
        assert (result["precision"], result["runtime"], result["categories"]) == ("fp16", "tensorrt_rtx", 4)
        assert result["compute_capabilities"] == "all"
        assert result["parity"]["onnx"]["decided_agreement"] >= 0.999
        engine = read_engine(result["engine"])
        assert engine.model == read_artifact(result["onnx"])
        assert engine.model.precision == "fp16"
        assert len(str(engine.model.provenance["checkpoint_sha256"])) == 64
        assert [engine.model.preprocess.height, engine.model.preprocess.width] == result["size"]
        assert result["bytes"] == Path(result["engine"]).stat().st_size
    lines = made.lines
    assert lines[0].startswith("loading ")
    assert sum(line.startswith("building engine (") for line in lines) == 2
    assert lines[-1].startswith(f"wrote {made.folder / 'street-48x80.engine'} (")
    assert not any("Warning" in line or "ranges of activations" in line for line in lines)


@pytest.mark.skipif(not no_gpu(), reason="this machine has a GPU: the engine is compared on it")
def test_without_a_gpu_the_engine_is_described_and_the_model_runs(made: Made) -> None:
    engine = read_engine(made.engine)
    assert engine.parity.measured is None
    assert str(engine.parity.skipped).startswith("no GPU here can run it: ")
    assert engine.build.device is None
    assert made.results[0]["parity"]["engine"] == {"skipped": engine.parity.skipped}
    with Segmenter(made.onnx, device="cpu", threads=1) as segmenter:
        assert segmenter.categories == engine.model.category_names


def test_from_an_exported_model(made: Made, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for suffix in (".onnx", ".json"):
        shutil.copy(made.onnx.with_suffix(suffix), tmp_path / f"model{suffix}")
    before = (tmp_path / "model.onnx").read_bytes()
    arguments = [str(tmp_path / "model.onnx"), "--compute-capability", "8.9", "-q", *RTX]
    assert main(arguments) == 0
    said = capfd.readouterr()
    result = json.loads(said.out)
    assert said.err == ""
    assert result["compute_capabilities"] == ["8.9"]
    assert result["parity"]["onnx"]["pictures"] == 4
    assert names(tmp_path) == ["model.engine", "model.engine.json", "model.json", "model.onnx"]
    assert (tmp_path / "model.onnx").read_bytes() == before
    assert read_engine(tmp_path / "model.engine").engine.bytes == result["bytes"]

    for extra, message in (
        (["--precision", "fp32"], "model.onnx is fp16, and its engine will be; found --precision fp32"),
        (["--size", "64"], "--size is baked into model.onnx"),
        (["--categories-file", "x"], "--categories-file is baked into model.onnx"),
        (["--batch", "1"], "--batch is baked into model.onnx"),
    ):
        assert main([*arguments, *extra]) == 2
        assert message in capfd.readouterr().err
    assert main([*arguments, "--precision", "fp16"]) == 0
    (tmp_path / "model.onnx").write_bytes(before[:-10])
    capfd.readouterr()
    assert main(arguments) == 4
    assert "is not the file its sidecar describes" in capfd.readouterr().err


def test_integers(own_checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "int8.engine"
    arguments = [str(own_checkpoint), "-o", str(target), "--size", "64", "--rounds", "1", "--precision", "int8"]
    assert main([*arguments, *RTX]) == 0
    said = capfd.readouterr()
    result = json.loads(said.out)
    assert result["precision"] == result["parity"]["onnx"]["precision"] == "int8_fp16"
    assert "measuring the ranges of activations ..." in said.err
    assert ("warning: " in said.err) == (result["parity"]["onnx"]["label_agreement"] < 0.98)
    assert read_engine(target).model.precision == "int8_fp16"
    assert 0.5 < result["parity"]["onnx"]["mean_iou"] <= 1.0
    assert main([str(tmp_path / "int8.onnx"), "--precision", "int8", "-q", *RTX]) == 0
    assert json.loads(capfd.readouterr().out)["precision"] == "int8_fp16"
    assert main([str(tmp_path / "int8.onnx"), "--calibration", str(tmp_path), "-q", *RTX]) == 2
    assert "--calibration is baked into int8.onnx" in capfd.readouterr().err


def test_integers_for_cpus_are_not_for_engines(
    exported: Callable[[str], Exported], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([str(exported("int8").path), "-q", *RTX]) == 2
    said = capfd.readouterr().err
    assert "model.onnx is int8, which is for CPUs; an engine needs fp16, bf16, fp32, int8_fp16" in said
    assert "hint: build it from the checkpoint: python -m export.to_trt ckpt.pt --precision int8" in said


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--precision", "fp8"], 2, "--precision"),
        (["-o", "model.onnx"], 2, "must end in .engine, .plan, .trt"),
        (["--compute-capability", "8.7"], 2, "does not build for compute capability 8.7"),
        (["--compute-capability", "turing"], 2, "looks like 8.6"),
        (["--version-compatible"], 2, "no version-compatible engines"),
        (["--hardware-compatible"], 2, "no hardware compatibility 'ampere_plus'"),
        (["--workspace", "0"], 2, "at least 1 MB"),
        (["--device", "cpu"], 2, "engines are built for GPUs; --device cpu was asked for"),
        (["--device", "gpu1"], 2, "device must be auto, cpu, cuda"),
        (["--runtime", "openvino"], 2, "--runtime"),
        (["--precision", "int8", "--calibration", "missing"], 3, "no folder of pictures"),
        (["--calibration", "."], 2, "calibration pictures are for static integers, found precision fp16"),
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
        arguments = [*arguments, "-o", "model.engine"]
    if "--runtime" not in arguments:
        arguments = [*arguments, *RTX]
    assert main([str(own_checkpoint), *arguments, "--quiet"]) == code
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert message in said.err
    assert "Traceback" not in said.err
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not no_gpu(), reason="this machine has a GPU")
def test_what_needs_a_gpu(own_checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = [str(own_checkpoint), "-o", str(tmp_path / "m.engine"), "-q", *RTX, "--compute-capability", "current"]
    assert main(arguments) == 5
    said = capfd.readouterr().err
    assert said.count("\n") == 2
    assert "needs an NVIDIA GPU to build for it, and this machine has none that works" in said
    assert "hint: name the target: --compute-capability" in said


def test_a_graph_that_computes_something_else_names_the_layer(
    own_checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.engine").write_bytes(b"old engine")
    monkeypatch.setitem(comparison.RELATIVE_TOLERANCE, "fp16", 1e-7)
    arguments = [str(own_checkpoint), "-o", str(tmp_path / "model.engine"), "--size", "64", "--rounds", "0", "-q", *RTX]
    assert main(arguments) == 6
    said = capfd.readouterr()
    assert "the fp16 graph does not compute the same as the model" in said.err
    assert "the first layer to diverge is features." in said.err
    assert said.out == ""
    assert names(tmp_path) == ["model.engine"]
    assert (tmp_path / "model.engine").read_bytes() == b"old engine"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_during_the_build(made: Path, tmp_path: Path, root: Path, number: signal.Signals, code: int) -> None:
    """The signal comes inside the builder's one long call; nothing is written."""
    program = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from ifseg_rt.tensorrt.building import progress\n"
        "def slow(self, phase, step):\n"
        "    print('step', flush=True); time.sleep(0.05)\n"
        "progress.SilentProgress.step = slow\n"
        "from export.to_trt import main\n"
        f"sys.exit(main([{str(made.onnx)!r}, '-o', {str(tmp_path / 'm.engine')!r}, '-q', *{RTX!r}]))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None and child.stderr is not None
        assert child.stdout.readline() == "step\n"
        started = time.monotonic()
        os.kill(child.pid, number)
        assert child.wait(timeout=20) == code
        assert time.monotonic() - started < 10
        assert child.stderr.read().strip() in ("interrupted", "terminated")
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full(
    made: Made, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(make, "file_record", full)
    assert main([str(made.onnx), "-o", str(tmp_path / "m.engine"), "-q", *RTX]) == 1
    assert "No space left on device" in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def test_help_is_quick_because_it_loads_nothing_heavy(root: Path) -> None:
    program = (
        "import sys; from export.to_trt import main; code = main(['--help']); heavy = ('torch', 'onnx', 'onnxruntime', "
        "'cv2', 'numpy', 'tensorrt', 'tensorrt_rtx'); sys.exit(code or any(name in sys.modules for name in heavy))"
    )
    answer = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert "exit codes" in answer.stdout
    assert answer.stderr == ""


def test_a_range_of_batches_in_place_of_a_model_of_another_precision(
    smallest: LoadedModel[IFSegModel], made: Made, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "ckpt.pt"
    save_checkpoint(checkpoint_of(smallest, {"image_size": "32x48"}), checkpoint)
    for suffix in (".onnx", ".json"):
        shutil.copy(made.onnx.with_suffix(suffix), tmp_path / f"ckpt{suffix}")
    assert main([str(checkpoint), "--batch", "1..4", "--precision", "bf16", "--rounds", "1", *RTX]) == 0
    said = capfd.readouterr()
    result = json.loads(said.out)
    assert (result["smallest_batch"], result["batch"]) == (1, 4)
    assert (result["size"], result["precision"]) == ([32, 48], "bf16")
    assert result["engine"] == str(tmp_path / "ckpt.engine")
    engine = read_engine(tmp_path / "ckpt.engine")
    assert [spec.shape[0] for spec in (*engine.inputs, *engine.outputs)] == [-1] * 3
    assert f"{tmp_path / 'ckpt.onnx'} is fp16 and will be replaced by the bf16 model" in said.err
