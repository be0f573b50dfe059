"""What one frame enqueues, in order; and the same with the real kernels, compiled for this CPU.

The GPU is the stand-in of conftest; for the last tests its kernels are the CUDA sources themselves, run by the shim of
the kernels' own tests, so labels must be those of the host path bit for bit.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ifseg_rt import Segmenter
from ifseg_rt.artifact.shipped import default_model_path
from ifseg_rt.errors import DeviceError
from ifseg_rt.gpu.layout import FLAGS, lay_out_network, lay_out_result
from ifseg_rt.kernels.launch import Kernels
from ifseg_rt.options import Extras
from ifseg_rt.upsampling.labels import upsample_confidence

STEPS = ("preprocess", "finite", "softmax", "transpose", "refine", "labels")


def picture(seed: int, height: int = 90, width: int = 130) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def watch(open_device: Any) -> Callable[..., tuple[Any, Any, Any, list[str]]]:
    """A device path and the names of all that reaches the GPU's queue or a recording."""

    def make(**options: Any) -> tuple[Any, Any, Any, list[str]]:
        path, gpu, network = open_device(**options)
        log: list[str] = []

        def logged(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
            def run(*arguments: Any, **named: Any) -> Any:
                log.append(name)
                return call(*arguments, **named)

            return run

        for owner, names in ((gpu.kernels, STEPS), (gpu, ("copy", "synchronize")), (network, ("enqueue",))):
            for name in names:
                setattr(owner, name, logged(name, getattr(owner, name)))
        plain = gpu.record

        def record(work: Callable[[], None]) -> Any:
            log.append("record")
            replay = plain(work)
            log.append("recorded")
            replay.launch = logged("replay", replay.launch)
            return replay

        path._recorder._record = record
        return path, gpu, network, log

    return make


PIECES = ["copy", "preprocess", "enqueue", "finite", "softmax", "refine", "labels"]
DOWN = ["copy", "synchronize"]


def test_a_frame_from_the_host(watch: Any) -> None:
    path, _, _, log = watch()
    seen = []
    for seed in range(4):
        path.run(picture(seed), "bgr")
        seen.append(log.copy())
        log.clear()
    # One launch a frame from the third on; the result comes back in one copy, and the host waits once.
    assert seen[0] == [*PIECES, *DOWN]
    assert seen[1] == ["record", *PIECES, "recorded", "replay", *DOWN]
    assert seen[2] == seen[3] == ["replay", *DOWN]


@pytest.mark.parametrize(
    ("settings", "averaging"),
    [((3, 2), ["softmax", "refine"]), ((3, 0), ["softmax"]), (None, ["softmax", "transpose"])],
)
def test_averaging(watch: Any, settings: Any, averaging: list[str]) -> None:
    path, _, _, log = watch(settings=settings, cuda_graph=False)
    for seed in range(2):
        log.clear()
        path.run(picture(seed), "bgr")
        assert log == ["copy", "preprocess", "enqueue", "finite", *averaging, "labels", *DOWN]


def test_a_frame_on_the_gpu_is_not_copied(watch: Any, on_gpu: Any) -> None:
    path, _, _, log = watch()
    rest = PIECES[2:]
    for expected in (
        ["preprocess", *rest],
        ["preprocess", "record", *rest, "recorded", "replay"],
        ["preprocess", "replay"],
    ):
        log.clear()
        path.run_on_device(on_gpu(picture(0)), "bgr", None)
        assert log == expected, "nothing waits"


def test_a_frame_on_the_gpu_is_painted_where_it_lies(watch: Any, on_gpu: Any) -> None:
    path, _, _, log = watch(overlay=0.5, confidence=True)
    score = PIECES[2:-1]
    for expected in (
        ["preprocess", *score, "labels"],
        ["preprocess", "record", *score, "recorded", "replay", "labels"],
        ["preprocess", "replay", "labels"],
    ):
        log.clear()
        path.run_on_device(on_gpu(picture(0)), "bgr", None)
        assert log == expected
    for _ in range(3):
        log.clear()
        path.run(picture(0), "bgr")
    assert log == ["replay", *DOWN], "a frame from the host lies in one place: all of it is recorded"


def test_a_new_size_waits_and_drops_before_it_allocates(watch: Any) -> None:
    path, gpu, _, log = watch()
    for _ in range(3):
        path.run(picture(0), "bgr")
    old = list(path._recorder._recordings.values())
    plain = gpu.allocate

    def allocate(size: int) -> Any:
        assert all(recording.closed for recording in old)
        assert path._size is None or path._size.plan.labels.shape == (64, 64)
        log.append("allocate")
        return plain(size)

    gpu.allocate = allocate
    log.clear()
    path.run(picture(1, 64, 64), "bgr")
    assert log[: log.index("preprocess")] == ["synchronize", "allocate", "allocate", "copy"]


def test_a_run_that_fails_is_a_device_error_and_the_next_frame_works(watch: Any) -> None:
    path, _, network, _ = watch()
    good, expected = network.enqueue, path.run(picture(0), "bgr").labels

    def failing() -> None:
        raise DeviceError("TensorRT failed to run model.engine: CUDA error 2")

    path.run(picture(0), "bgr")
    path._recorder.forget()
    network.enqueue = failing
    for _ in range(2):
        with pytest.raises(DeviceError, match=r"^TensorRT failed to run model\.engine: CUDA error 2$"):
            path.run(picture(0), "bgr")
    network.enqueue = good
    for _ in range(3):
        np.testing.assert_array_equal(path.run(picture(0), "bgr").labels, expected)
    assert path.graph_refusal is None


@pytest.mark.parametrize("error", [DeviceError("no second context"), RuntimeError("no second context\n")])
def test_a_question_that_fails_only_costs_the_recording(open_device: Any, error: Exception) -> None:
    path, gpu, _ = open_device()

    def why_not() -> None:
        raise error

    path._recorder._why_not = why_not
    labels = [path.run(picture(0), "bgr").labels for _ in range(4)]
    assert all(np.array_equal(found, labels[0]) for found in labels)
    assert gpu.launches == 0
    assert str(path.graph_refusal).endswith("no second context")


def test_kernels_get_the_planned_places(open_device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path, gpu, network = open_device(cuda_graph=False)
    artifact = path._artifact
    base, plan, result = (
        path._program._memory.address,
        lay_out_network(artifact),
        lay_out_result(artifact, 90, 130, Extras()),
    )
    seen: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {}
    for name in STEPS:
        monkeypatch.setattr(gpu.kernels, name, lambda *given, _name=name, **named: seen.update({_name: (given, named)}))
    monkeypatch.setattr(network, "enqueue", lambda: None)
    with gpu.current():
        size = path._enqueue(None, picture(0), "bgr")
    out, image, logits = size.result.address, base + plan.image.offset, base + plan.logits.offset
    planes, near = base + plan.planes.offset, base + plan.neighbours.offset
    given, named = seen["preprocess"]
    assert given[1:] == (size.frame.address, 90, 130, 390)
    assert (named["out"], named["swap"], named["half"]) == (image, True, False)
    assert seen["finite"] == ((gpu.stream, logits, 96 * 4), {"flags": out + result.flags.offset, "blocks": FLAGS})
    assert seen["softmax"] == ((gpu.stream, logits, 96, 4), {"planes": planes})
    assert seen["refine"] == ((gpu.stream, planes, near, 96, 4, 5, 3, 2), {"out": out + result.planes.offset})
    assert seen["labels"][0] == (gpu.stream, out + result.planes.offset, 4, 8, 12)
    place = {"labels": out + result.labels.offset, "height": 90, "width": 130, "wide": False}
    assert seen["labels"][1] == {**place, "confidence": 0, "values": 0, "overlay": None}


@pytest.fixture(scope="module")
def shim_launcher(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The CUDA sources compiled for this CPU, as in the kernels' own tests."""
    place = Path(__file__).parents[1] / "kernels" / "conftest.py"
    spec = importlib.util.spec_from_file_location("kernels_on_this_cpu", place)
    assert spec is not None
    assert spec.loader is not None
    cuda = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cuda)
    types = {source: cuda.signatures(source) for source in cuda.SOURCES}
    sources = {cuda.KERNELS / f"{source}.cu": list(types[source]) for source in cuda.SOURCES}
    library = cuda.compile_for_cpu(tmp_path_factory.mktemp("shim"), sources)
    return cuda.ShimLauncher(library, {name: kinds for found in types.values() for name, kinds in found.items()})


class QueuedLauncher:
    """Launches when the stand-in's stream gets there."""

    def __init__(self, launcher: Any, gpu: Any) -> None:
        self.launcher, self.gpu, self.shared_limit = launcher, gpu, launcher.shared_limit

    def __call__(self, stream: object, launch: Any) -> None:
        assert stream is self.gpu.stream
        self.gpu.enqueue(lambda: self.launcher(stream, launch))


@pytest.mark.parametrize("settings", [(3, 2), (5, 1), (1, 0), None])
def test_the_real_kernels(
    open_device: Any, model_path: Path, shim_launcher: Any, on_gpu: Any, scene: np.ndarray, settings: Any
) -> None:
    path, gpu, _ = open_device(settings=settings, confidence=True, overlay=0.45)
    gpu.kernels = Kernels(None, QueuedLauncher(shim_launcher, gpu))
    extras: dict[str, Any] = {"confidence": True, "overlay": 0.45}
    with Segmenter(model_path, device="cpu", threads=1, refine=settings or False, **extras) as host:
        for frame, order in ((scene[:, ::-1], "bgr"), (picture(4, 33, 47), "bgr"), (picture(5, 33, 47), "rgb")):
            expected = host(frame, order)
            np.testing.assert_allclose(path.run(frame, order).probabilities, expected.probabilities, atol=1e-6)
            for given in (frame, on_gpu(np.ascontiguousarray(frame))):
                found = path.run(given, order)
                np.testing.assert_array_equal(found.labels, expected.labels)
                np.testing.assert_array_equal(found.picture, expected.picture)
                confidence = upsample_confidence(found.probabilities, found.labels)
                np.testing.assert_array_equal(found.confidence, confidence)
    assert gpu.launches > 0


def test_the_shipped_model(open_device: Any, shim_launcher: Any) -> None:
    model = default_model_path()
    frame = cv2.imread(str(model.with_name("sample.jpg")))
    with Segmenter.default(device="cpu", threads=1) as host:
        expected, settings = host(frame), host.refinement
    path, gpu, _ = open_device(model, settings)
    gpu.kernels = Kernels(None, QueuedLauncher(shim_launcher, gpu))
    found = path.run(frame, "bgr")
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-4)
    assert (found.labels == expected.labels).mean() > 0.9999, "averaged by the kernels here, by the graph there"
