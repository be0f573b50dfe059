"""The engine: refinement choices, timings, threads, closing, and what it never imports."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import ifseg_rt
from ifseg_rt import Segmenter
from ifseg_rt.artifact.shipped import default_model_path
from ifseg_rt.artifact.sidecar import file_record, read_artifact, sidecar_path, write_artifact
from ifseg_rt.errors import ArtifactError, DeviceError, SourceError, UsageError, VocabularyError
from ifseg_rt.host.runner import HostRunner
from ifseg_rt.upsampling.labels import upsample_labels

SHIPPED = Path(ifseg_rt.__file__).parent / "assets" / "micro.onnx"


@pytest.fixture
def noisy() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (90, 130, 3), dtype=np.uint8)


def test_result_of_a_scene(model_path: Path, scene: np.ndarray) -> None:
    with Segmenter(model_path, threads=1, device="cpu") as segmenter:
        result = segmenter(scene)
    assert segmenter.device == "cpu"
    assert result.categories == segmenter.categories == ("red", "green", "blue thing", "dark")
    assert result.labels.shape == (120, 180)
    assert result.probabilities.shape == (4, 8, 12)
    assert result.probabilities.dtype == np.float32
    np.testing.assert_allclose(result.probabilities.sum(axis=0), 1, atol=1e-5)
    assert result.mask("red").dtype == np.bool_
    assert result.shares["red"] == pytest.approx(result.mask("red").mean())
    assert result.shares == pytest.approx({"red": 1 / 3, "green": 1 / 3, "blue thing": 1 / 3, "dark": 0}, abs=0.05)
    assert result.confidence.shape == (120, 180)
    assert 0.25 < result.confidence.min() <= result.confidence.max() <= 1.0001
    assert set(result.timings) == {"preprocess", "inference", "refinement", "upsampling", "total"}
    parts = sum(value for stage, value in result.timings.items() if stage != "total")
    assert parts == pytest.approx(result.timings["total"])


def test_unknown_mask_suggests_a_name(model_path: Path, scene: np.ndarray) -> None:
    with Segmenter(model_path) as segmenter, pytest.raises(VocabularyError) as caught:
        segmenter(scene).mask("rde")
    assert caught.value.hint == "did you mean 'red'?"


def test_overlay_keeps_the_channel_order(model_path: Path, scene: np.ndarray) -> None:
    with Segmenter(model_path) as segmenter:
        bgr = segmenter(scene).overlay(scene, alpha=1.0)
        flipped = np.ascontiguousarray(scene[:, :, ::-1])
        rgb = segmenter(flipped, color="rgb").overlay(flipped, alpha=1.0)
        result = segmenter(scene)
    assert tuple(bgr[60, 10]) == (0, 0, 255)
    assert tuple(rgb[60, 10]) == (255, 0, 0)
    np.testing.assert_array_equal(result.overlay(scene, alpha=0.0), scene)
    assert (result.overlay(scene, legend=True) != result.overlay(scene)).any()
    with pytest.raises(SourceError, match="180 x 120 pixels, found 180 x 100"):
        result.overlay(scene[:100])
    with pytest.raises(UsageError, match="alpha"):
        result.overlay(scene, alpha=2)


def test_own_averaging_equals_the_graphs(make_artifact: Callable[..., Path], tmp_path: Path, noisy: np.ndarray) -> None:
    """The same settings through the graph and through NumPy give the same probabilities."""
    three = make_artifact(tmp_path / "three", k=3, rounds=4)
    five = make_artifact(tmp_path / "five", k=5, rounds=1)
    with Segmenter(three) as baked, Segmenter(five, refine=(3, 4)) as own:
        expected, found = baked(noisy), own(noisy)
    assert baked.refinement == own.refinement == (3, 4)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-6)
    np.testing.assert_array_equal(found.labels, expected.labels)


def test_without_refinement_the_logits_are_upsampled(model_path: Path, noisy: np.ndarray) -> None:
    with Segmenter(model_path, refine=False) as plain, Segmenter(model_path, refine=(3, 0)) as zero:
        result, softmaxed = plain(noisy), zero(noisy)
        path = plain._runner
        assert isinstance(path, HostRunner)
        logits = path.network.run(path.preprocess(noisy, "bgr"), ["logits"])[0][0]
    np.testing.assert_array_equal(result.labels, upsample_labels(logits.T.reshape(4, 8, 12), 90, 130))
    np.testing.assert_allclose(result.probabilities, softmaxed.probabilities, atol=1e-6)
    assert plain.refinement is None


def test_refinement_changes_something(model_path: Path, noisy: np.ndarray) -> None:
    with Segmenter(model_path) as smooth, Segmenter(model_path, refine=False) as plain:
        assert smooth.refinement == (3, 2)
        assert np.abs(smooth(noisy).probabilities - plain(noisy).probabilities).max() > 0.01


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"refine": (0, 3)}, "1 to 5 neighbours"),
        ({"refine": (6, 3)}, "1 to 5 neighbours"),
        ({"refine": (3, -1)}, "0 to 1000 rounds"),
        ({"refine": (3, 10**9)}, "0 to 1000 rounds"),
        ({"refine": (3,)}, "refine must be"),
        ({"refine": 3}, "refine must be"),
        ({"refine": "35"}, "refine must be"),
        ({"refine": (2.7, 3.9)}, "refine must be"),
        ({"refine": (float("inf"), 1)}, "refine must be"),
        ({"refine": (True, 3)}, "refine must be"),
        ({"refine": np.zeros((2, 2))}, "refine must be"),
        ({"device": "tpu"}, "device must be auto, cpu"),
        ({"device": None}, "device must be auto, cpu"),
        ({"threads": 0}, "threads must be"),
        ({"threads": "2"}, "threads must be"),
        ({"threads": True}, "threads must be"),
        ({"threads": 10**20}, "threads must be"),
        ({"color": "hsv"}, "color must be"),
        ({"color": np.zeros(3)}, "color must be"),
        ({"confidence": np.zeros(2)}, "confidence must be"),
        ({"allow_host_code": "no"}, "allow_host_code must be"),
        ({"overlay": np.zeros(2)}, "overlay must be"),
    ],
)
def test_arguments_that_cannot_be_meant(model_path: Path, arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        Segmenter(model_path, **arguments)


def test_cuda_insisted_on_is_an_error_without_it(model_path: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(DeviceError, match="built for the CPU only") as caught:
        Segmenter(model_path, device="cuda")
    assert "ifseg-rt[gpu]" in str(caught.value.hint)


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_auto_falls_back_loudly(
    model_path: Path,
    scene: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: sys.stdout.write("Failed to load"), raising=False)
    with Segmenter(model_path) as segmenter:
        assert segmenter.device == "cpu"
        assert segmenter.fallback_reason
        assert "running on the CPU, because the GPU does not work here" in caplog.text
        assert segmenter(scene).labels.shape == (120, 180)
    with pytest.raises(DeviceError, match="does not work here"):
        Segmenter(model_path, device="cuda")
    assert capfd.readouterr().out == ""  # results only


def test_missing_runtime_names_the_remedy(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DeviceError) as caught:
        Segmenter(model_path)
    assert 'pip install "ifseg-rt[cpu]"' in str(caught.value.hint)


def test_graph_that_does_not_fit_its_sidecar(make_artifact: Callable[..., Path], tmp_path: Path) -> None:
    small, large = make_artifact(tmp_path / "small"), make_artifact(tmp_path / "large", height=128)
    artifact = msgspec.structs.replace(read_artifact(small), files=(file_record(large),))
    write_artifact(artifact, sidecar_path(large))
    with pytest.raises(ArtifactError, match="does not fit its sidecar"):
        Segmenter(large)


def test_batches_are_refused(make_artifact: Callable[..., Path], tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path, height=16, width=16, most=4)
    found = read_artifact(artifact)
    resized = [
        [msgspec.structs.replace(spec, shape=(2, *spec.shape[1:])) for spec in specs]
        for specs in (found.inputs, found.outputs)
    ]
    batched = msgspec.structs.replace(found, batch=2, inputs=tuple(resized[0]), outputs=tuple(resized[1]))
    write_artifact(batched, sidecar_path(artifact))
    with pytest.raises(ArtifactError, match="batches of 2 frames"):
        Segmenter(artifact)


def test_closing(model_path: Path, scene: np.ndarray) -> None:
    segmenter = Segmenter(model_path)
    with segmenter as same:
        assert same is segmenter
        segmenter(scene)
    segmenter.close()
    segmenter.close()
    with pytest.raises(UsageError, match="is closed"):
        segmenter(scene)


def test_threads_share_one_segmenter(model_path: Path) -> None:
    frames = [np.random.default_rng(seed).integers(0, 256, (60 + seed, 80, 3), dtype=np.uint8) for seed in range(6)]
    with Segmenter(model_path, threads=1) as segmenter:
        expected = [segmenter(frame).labels for frame in frames]
        wrong: list[int] = []

        def work(index: int) -> None:
            for turn in range(20):
                chosen = (index + turn) % len(frames)
                if not np.array_equal(segmenter(frames[chosen]).labels, expected[chosen]):
                    wrong.append(chosen)

        threads = [threading.Thread(target=work, args=(index,)) for index in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
    assert not wrong
    assert not any(thread.is_alive() for thread in threads)


def test_closing_while_others_call(model_path: Path, scene: np.ndarray) -> None:
    segmenter = Segmenter(model_path, threads=1)
    errors: list[BaseException] = []
    started = threading.Event()

    def work() -> None:
        try:
            while True:
                segmenter(scene)
                started.set()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert started.wait(20)
    segmenter.close()
    for thread in threads:
        thread.join(timeout=20)
    assert [type(error) for error in errors] == [UsageError] * 3


def test_never_imports_the_training_side(model_path: Path) -> None:
    program = f"""
import sys
import ifseg_rt
assert "numpy" not in sys.modules and "cv2" not in sys.modules, "importing the package alone must stay light"
import numpy as np
with ifseg_rt.Segmenter({str(model_path)!r}) as segmenter:
    segmenter(np.zeros((40, 50, 3), np.uint8)).overlay(np.zeros((40, 50, 3), np.uint8), legend=True)
loaded = {{name.split(".")[0] for name in sys.modules}}
print(",".join(sorted(loaded & {{"torch", "transformers", "onnx", "train", "export", "PIL", "rich"}})))
"""
    root = Path(ifseg_rt.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


def test_public_names() -> None:
    for name in ifseg_rt.__all__:
        assert getattr(ifseg_rt, name) is not None
    assert ifseg_rt.__version__.count(".") >= 1
    with pytest.raises(AttributeError):
        _ = ifseg_rt.no_such_name


@pytest.mark.skipif(not SHIPPED.is_file(), reason=f"the shipped model is not in this checkout: {SHIPPED}")
def test_default_model(scene: np.ndarray) -> None:
    with Segmenter.default(threads=1) as segmenter:
        result = segmenter(scene)
    assert result.labels.shape == (120, 180)
    assert sum(result.shares.values()) == pytest.approx(1.0)
    assert SHIPPED.stat().st_size < 60e6


@pytest.mark.skipif(SHIPPED.is_file(), reason="the shipped model is there")
def test_missing_default_model_is_said() -> None:
    with pytest.raises(ArtifactError, match="carries no default model"):
        default_model_path()


def labelled(segmenter: Segmenter, frame: np.ndarray) -> np.ndarray:
    return segmenter(frame).labels


@pytest.mark.parametrize("start", ["spawn", "fork"])
def test_other_processes_can_use_a_segmenter(model_path: Path, scene: np.ndarray, start: str) -> None:
    if start not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {start}")
    with Segmenter(model_path, device="cpu", threads=1, refine=(2, 5), color="rgb") as segmenter:
        expected = segmenter(scene).labels
        with multiprocessing.get_context(start).Pool(1) as pool:
            found = pool.apply_async(labelled, (segmenter, scene)).get(timeout=60)
        assert np.array_equal(found, expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_opens_the_model_again_and_ends(model_path: Path, scene: np.ndarray) -> None:
    program = (
        "import os, sys, cv2, numpy\n"
        "from ifseg_rt import Segmenter\n"
        "segmenter = Segmenter(sys.argv[1], device='cpu', threads=2)\n"
        "frame = numpy.zeros((40, 60, 3), numpy.uint8)\n"
        "expected = segmenter(frame).labels\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    sys.exit(7 if (segmenter(frame).labels == expected).all() else 8)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(model_path)], timeout=60, check=False)
    assert ended.returncode == 7


def test_a_copy_is_of_the_same_model_or_none(own_model: Path) -> None:
    with Segmenter(own_model, device="cpu") as segmenter:
        packed = pickle.dumps(segmenter)
    artifact = read_artifact(own_model)
    write_artifact(msgspec.structs.replace(artifact, name="another"), sidecar_path(own_model))
    with pytest.raises(ArtifactError, match="not the model any more"):
        pickle.loads(packed)


@pytest.mark.parametrize("path", [None, 3, b"model.onnx", "", "a\0b", True])
def test_paths_that_are_none(path: Any) -> None:
    with pytest.raises(UsageError, match="must be a path"):
        Segmenter(path)


def test_a_name_that_no_file_can_have() -> None:
    with pytest.raises(ArtifactError, match="there is no model file"):
        Segmenter("x" * 300 + ".onnx")
