"""Confidence and picture from the labels launch: what the host computes, in the same copy, and only when asked for."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ifseg_rt import Segmenter
from ifseg_rt.artifact.sidecar import CategoryRecord, file_record, read_artifact, sidecar_path, write_artifact
from ifseg_rt.cli.main import main
from ifseg_rt.errors import UsageError
from ifseg_rt.result import Result
from ifseg_rt.upsampling.labels import upsample_confidence


def picture(seed: int, height: int = 90, width: int = 130) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def on_host(model_path: Path) -> Callable[..., Result]:
    """What the host runner makes of a frame."""

    def label(frame: Any, settings: Any, color: str = "bgr", model: Path = model_path) -> Result:
        refine: Any = False if settings is None else settings
        with Segmenter(model, refine=refine, threads=1, device="cpu", confidence=True, overlay=0.4) as segmenter:
            return segmenter(frame, color)

    return label


@pytest.fixture
def make_many(model_path: Path, tmp_path: Path) -> Callable[[int], Path]:
    """A model of any number of categories, its logits random projections of the picture's patches."""

    def make(classes: int) -> Path:
        like = read_artifact(model_path)
        h, w = like.grid
        cells, most = h * w, like.refinement.max_neighbours
        random = np.random.default_rng(0)
        constants = {
            "weights": random.normal(size=(classes, 3, 1, 1)).astype(np.float32),
            "rows": np.array([1, classes, cells], np.int64),
            "grid": np.array([1, classes, h, w], np.int64),
            "near": np.tile(np.arange(cells, dtype=np.int32)[:, None], (1, most))[None],
        }
        nodes = [
            helper.make_node("AveragePool", ["image"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
            helper.make_node("Conv", ["pooled", "weights"], ["planes"]),
            helper.make_node("Reshape", ["planes", "rows"], ["flat"]),
            helper.make_node("Transpose", ["flat"], ["logits"], perm=[0, 2, 1]),
            helper.make_node("Softmax", ["planes"], ["probabilities"], axis=1),
            helper.make_node("Identity", ["near"], ["neighbours"]),
        ]
        shapes = {"probabilities": [1, classes, h, w], "logits": [1, cells, classes]}
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
        outputs.append(helper.make_tensor_value_info("neighbours", TensorProto.INT32, [1, cells, most]))
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, list(like.inputs[0].shape))
        weights = [numpy_helper.from_array(array, name) for name, array in constants.items()]
        graph = helper.make_graph(nodes, "many", [image], outputs, weights)
        path = tmp_path / "many.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        shapes["neighbours"] = [1, cells, most]
        changed = msgspec.structs.replace(
            like,
            files=(file_record(path),),
            categories=tuple(CategoryRecord(f"c{index}", (), (0, 0, 0)) for index in range(classes)),
            outputs=tuple(msgspec.structs.replace(spec, shape=tuple(shapes[spec.name])) for spec in like.outputs),
        )
        write_artifact(changed, sidecar_path(path))
        return path

    return make


def check(found: Any, expected: Result) -> None:
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(found.picture, expected.picture)
    np.testing.assert_array_equal(found.confidence, upsample_confidence(found.probabilities, found.labels))
    np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-6)


@pytest.mark.parametrize(("settings", "cuda_graph"), [((3, 2), True), (None, True), ((3, 0), False)])
def test_same_as_the_host_runner(
    open_gpu_runner: Any, on_host: Any, on_gpu: Any, settings: Any, cuda_graph: bool
) -> None:
    runner, gpu, _ = open_gpu_runner(settings=settings, cuda_graph=cuda_graph, confidence=True, overlay=0.4)
    for seed, color in ((1, "bgr"), (2, "bgr"), (3, "rgb"), (4, "rgb"), (5, "bgr")):
        frame = picture(seed)
        expected = on_host(frame, settings, color)
        check(runner.run(frame, color), expected)
        check(runner.run(on_gpu(frame), color), expected)
    assert gpu.replays == (3 + 4 if cuda_graph else 0)


def test_rows_that_lie_apart(open_gpu_runner: Any, on_host: Any, on_gpu: Any) -> None:
    runner, _, _ = open_gpu_runner(confidence=True, overlay=0.4)
    wide = picture(8, 60, 200)[:, :80]  # rows 600 bytes apart
    for frame in (wide, on_gpu(wide), on_gpu(wide), on_gpu(wide)):
        check(runner.run(frame, "bgr"), on_host(wide, (3, 2)))


def test_wide_labels(open_gpu_runner: Any, on_host: Any, make_many: Callable[[int], Path]) -> None:
    model = make_many(300)
    runner, _, _ = open_gpu_runner(model, settings=None, confidence=True, overlay=0.4)
    frame = picture(3)
    check(runner.run(frame, "bgr"), on_host(frame, None, model=model))


def test_either_alone(open_gpu_runner: Any, on_host: Any) -> None:
    frame, expected = picture(1), on_host(picture(1), (3, 2))
    for confidence, overlay in ((True, None), (False, 0.4), (False, 0.0)):
        runner, gpu, _ = open_gpu_runner(confidence=confidence, overlay=overlay)
        found = runner.run(frame, "bgr")
        assert (found.known_confidence is not None, found.picture is not None) == (confidence, overlay is not None)
        if overlay is not None:
            np.testing.assert_array_equal(found.picture, expected.picture if overlay else frame)
        resident = runner.run_on_device(frame, "bgr", None)
        assert (resident.confidence is not None, resident.picture is not None) == (confidence, overlay is not None)
        assert gpu.replays == 1


def test_one_copy_brings_everything(open_gpu_runner: Any) -> None:
    runner, gpu, _ = open_gpu_runner(confidence=True, overlay=0.5)
    runner.run(picture(0), "bgr")
    known, copies = gpu.allocations, []
    plain = gpu.copy
    gpu.copy = lambda target, source, size: (copies.append(size), plain(target, source, size))
    for seed in range(6):
        runner.run(picture(seed), "bgr")
    assert gpu.allocations == known
    downloads = [size for size in copies if size != 3 * 90 * 130]
    assert len(downloads) == 6
    assert min(downloads) >= 90 * 130 * (1 + 4 + 3)


def test_results_stay_on_the_gpu_and_are_the_callers_on_the_host(
    open_gpu_runner: Any, on_host: Any, on_gpu: Any
) -> None:
    runner, gpu, _ = open_gpu_runner(confidence=True, overlay=0.4)
    kept = []
    for seed in range(6):
        frame = picture(seed)
        result = runner.run_on_device(on_gpu(frame) if seed % 2 else frame, "bgr", None)
        assert gpu.queue, "the work is enqueued, not done"
        for array, shape, kind in (
            (result.confidence, (90, 130), "<f4"),
            (result.picture, (90, 130, 3), "|u1"),
        ):
            interface = array.__cuda_array_interface__
            assert (interface["shape"], interface["typestr"], interface["strides"]) == (shape, kind, None)
            assert interface["data"][0] % 256 == 0
            assert array.__dlpack_device__() == (2, 0)
        shown = result.picture.__dlpack__(stream=-1).array
        copy = result.copy()
        here = result.to_host()
        np.testing.assert_array_equal(shown, here.picture)
        kept.append((here, copy, on_host(frame, (3, 2))))
    with pytest.raises(UsageError, match="was overwritten"):
        runner.run(picture(9), "bgr")
        result.picture.__dlpack__()
    runner.close()
    del runner
    gc.collect()
    for here, copy, expected in kept:
        check(here, expected)
        check(copy.to_host(), expected)


def test_a_painted_picture_may_be_the_next_frame(open_gpu_runner: Any, on_host: Any, on_gpu: Any) -> None:
    """Painted over in place, where it lies in the result's own memory."""
    runner, gpu, _ = open_gpu_runner(confidence=True, overlay=0.4)
    first = runner.run(picture(0), "bgr")
    again = runner.run_on_device(picture(0), "bgr", None)
    gpu.synchronize()
    lies = again.picture.__dlpack__(stream=-1).array
    check(runner.run(on_gpu(lies), "bgr"), on_host(first.picture, (3, 2)))


def test_the_legend_is_drawn_into_the_picture(model_path: Path, scene: np.ndarray) -> None:
    with Segmenter(model_path, device="cpu", threads=1, overlay=np.float64(0.3)) as segmenter:
        result = segmenter(scene)
    np.testing.assert_array_equal(result.picture, result.overlay(scene, 0.3))
    assert result.picture is not None
    result.draw_legend(result.picture)
    np.testing.assert_array_equal(result.picture, result.overlay(scene, 0.3, legend=True))


def test_nothing_is_made_unless_asked(model_path: Path, scene: np.ndarray) -> None:
    with Segmenter(model_path, device="cpu", threads=1) as segmenter:
        plain = segmenter(scene)
    with Segmenter(model_path, device="cpu", threads=1, confidence=True, overlay=1.0) as segmenter:
        full = segmenter(scene)
    assert (plain.picture, plain.known_confidence) == (None, None)
    assert set(full.timings) - set(plain.timings) == {"confidence", "overlay"}
    assert full.confidence is full.known_confidence
    np.testing.assert_array_equal(full.confidence, plain.confidence)
    parts = sum(value for stage, value in full.timings.items() if stage != "total")
    assert parts == pytest.approx(full.timings["total"])


def test_the_command_takes_the_pictures_from_the_gpu(
    open_gpu_runner: Any,
    model_path: Path,
    scene: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A video through the whole command: painted by the labels launch, the legend drawn into that."""
    source = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(source), cv2.VideoWriter.fourcc(*"MJPG"), 12.0, (180, 120))
    for shift in range(6):
        writer.write(np.roll(scene, shift * 20, axis=1))
    writer.release()
    model = ["--model", str(model_path), "--threads", "1", "--no-window", "--alpha", "0.3"]
    assert main([str(source), *model, "--device", "cpu", "-o", str(tmp_path / "host.avi")]) == 0
    on_host = [json.loads(line) for line in capfd.readouterr().out.splitlines()]

    def opened(model: Any, averaging: Any, options: Any) -> Any:
        return open_gpu_runner(settings=averaging.settings, overlay=options.extras.overlay)[0]

    monkeypatch.setattr("ifseg_rt.segmenter.open_runner", opened)
    monkeypatch.setattr("ifseg_rt.drawing.overlay.overlay", lambda *_: pytest.fail("painted by the host"))
    assert main([str(source), *model, "-o", str(tmp_path / "gpu.avi")]) == 0
    on_gpu = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [line["shares"] for line in on_gpu] == [line["shares"] for line in on_host]
    assert [list(line["timings_ms"]) for line in on_gpu] == [["read", "segment", "draw", "write", "total"]] * 6
    stages = ["read", "preprocess", "inference", "refinement", "upsampling", "draw", "write", "total"]
    assert [list(line["timings_ms"]) for line in on_host] == [stages] * 6
    assert (tmp_path / "gpu.avi").read_bytes() == (tmp_path / "host.avi").read_bytes()


@pytest.mark.parametrize("overlay", [True, -0.1, 1.5, "half", float("nan")])
def test_opacities_that_cannot_be_meant(model_path: Path, overlay: Any) -> None:
    with pytest.raises(UsageError, match=r"overlay must be an opacity in 0\.\.1 or None, found") as caught:
        Segmenter(model_path, overlay=overlay)
    assert caught.value.hint == "overlay=0.5"
