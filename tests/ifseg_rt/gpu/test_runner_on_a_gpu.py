"""The GPU runner on a real GPU without any run time for networks: only the driver, cuda-core and NVRTC are needed.

The network's place is taken by copies within the GPU: its scores are the first numbers of the pre-processed frame. So
every result can be computed on the host too, from pre-processing to labels, and everything can be recorded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from math import prod
from types import SimpleNamespace
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest

from ifseg_rt.artifact.shipped import default_model_path
from ifseg_rt.artifact.sidecar import Artifact, read_artifact
from ifseg_rt.gpu.device import Gpu
from ifseg_rt.gpu.runner import GpuRunner
from ifseg_rt.host.preprocess import Preprocessor
from ifseg_rt.host.refinement import refine, softmax
from ifseg_rt.machine import this_machine
from ifseg_rt.options import Averaging, Extras
from ifseg_rt.upsampling.labels import upsample_labels

_MACHINE = this_machine()
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(_MACHINE.gpu is None, reason=f"no GPU: {_MACHINE.reason}"),
]
# The shipped model's, but small: these tests also run where a CPU stands in for the GPU.
HEIGHT, WIDTH, GRID = 48, 64, (6, 8)


def small(artifact: Artifact) -> Artifact:
    cells = prod(GRID)
    outputs = {
        "probabilities": (1, len(artifact.categories), *GRID),
        "logits": (1, cells, len(artifact.categories)),
        "neighbours": (1, cells, artifact.refinement.max_neighbours),
    }
    return msgspec.structs.replace(
        artifact,
        preprocess=msgspec.structs.replace(artifact.preprocess, height=HEIGHT, width=WIDTH),
        grid=GRID,
        inputs=tuple(msgspec.structs.replace(spec, shape=(1, 3, HEIGHT, WIDTH)) for spec in artifact.inputs),
        outputs=tuple(msgspec.structs.replace(spec, shape=outputs[spec.name]) for spec in artifact.outputs),
    )


ARTIFACT = small(read_artifact(default_model_path()))
CELLS, CLASSES, STORED = prod(ARTIFACT.grid), len(ARTIFACT.categories), ARTIFACT.refinement.max_neighbours
NEAR = np.random.default_rng(0).integers(0, CELLS, (CELLS, STORED)).astype(np.int32)


class Copies:
    """A network that copies."""

    device, fallback_reason = "cuda", None

    def __init__(self, gpu: Any) -> None:
        self._gpu = gpu
        self._near, self._staging = gpu.allocate(NEAR.nbytes), gpu.allocate_pinned(NEAR.nbytes)
        self._staging.array(NEAR.shape, np.int32)[:] = NEAR
        gpu.copy(self._near.address, self._staging.address, NEAR.nbytes)

    def bind(self, addresses: Mapping[str, int]) -> None:
        self._places = dict(addresses)

    def enqueue(self) -> None:
        self._gpu.copy(self._places["logits"], self._places["image"], 4 * CELLS * CLASSES)
        self._gpu.copy(self._places["neighbours"], self._near.address, NEAR.nbytes)

    def why_not_recordable(self) -> None:
        return None

    def close(self) -> None:
        self._near = None


def probabilities_of(frame: np.ndarray, settings: tuple[int, int] | None) -> np.ndarray:
    image = Preprocessor(ARTIFACT.preprocess)(np.ascontiguousarray(frame), "bgr")
    found = softmax(image.reshape(-1)[: CELLS * CLASSES].reshape(CELLS, CLASSES))
    if settings is not None:
        found = refine(found, NEAR, k=settings[0], rounds=settings[1])
    return found.T.reshape(CLASSES, *ARTIFACT.grid)


@pytest.fixture
def open_runner() -> Iterator[Callable[..., GpuRunner]]:
    pytest.importorskip("cuda.core", reason="the kernels need cuda-core")
    opened: list[GpuRunner] = []

    def make(
        settings: tuple[int, int] | None = (3, 25),
        extras: Extras | None = None,
        gpu: Gpu | None = None,
        **options: Any,
    ) -> GpuRunner:
        gpu = gpu or Gpu()
        with gpu.current():
            network: Any = Copies(gpu)
        opened.append(GpuRunner(gpu, network, ARTIFACT, Averaging.of(settings, ARTIFACT), extras, **options))
        return opened[-1]

    yield make
    for runner in opened:
        runner.close()


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    sample = cv2.resize(cv2.imread(str(default_model_path().with_name("sample.jpg"))), (95, 71))
    return [sample, sample[:, ::-1], 255 - sample, sample[::-1]]


@pytest.mark.parametrize("cuda_graph", [True, False])
@pytest.mark.parametrize("settings", [(3, 25), (8, 4), (3, 0), None])
def test_every_frame_from_pixels_to_labels(
    open_runner: Any, frames: list[np.ndarray], settings: tuple[int, int] | None, cuda_graph: bool
) -> None:
    runner = open_runner(settings, cuda_graph=cuda_graph)
    for frame in [*frames, *frames]:
        found = runner.run(frame, "bgr")
        np.testing.assert_allclose(found.probabilities, probabilities_of(frame, settings), atol=1e-6)
        if settings is not None:  # else labels come from the scores
            exact = upsample_labels(np.ascontiguousarray(found.probabilities), *frame.shape[:2])
            np.testing.assert_array_equal(found.labels, exact)
    assert runner.graph_refusal is None
    assert runner._recorder.kept == cuda_graph  # a frame is really replayed


def test_sizes_and_channel_orders_change(open_runner: Any, frames: list[np.ndarray]) -> None:
    runner, plain = open_runner(), open_runner(cuda_graph=False)
    for frame in (frames[0], frames[0][:50], frames[0][:, :37], frames[0][:1, :1], frames[0]):
        for order in ("bgr", "bgr", "rgb", "rgb", "bgr"):
            expected, found = plain.run(frame, order), runner.run(frame, order)
            np.testing.assert_array_equal(found.labels, expected.labels)
            np.testing.assert_array_equal(found.probabilities, expected.probabilities)
    assert runner.graph_refusal is None


def test_frames_and_results_that_stay_on_the_gpu(open_runner: Any, frames: list[np.ndarray]) -> None:
    gpu = Gpu()
    runner = open_runner(extras=Extras(confidence=True), gpu=gpu)
    height, width, _ = frames[0].shape
    pitch = 3 * width + 61
    with gpu.current():
        memory, staging = gpu.allocate(height * pitch), gpu.allocate_pinned(height * pitch)
    interface = {"shape": (height, width, 3), "typestr": "|u1", "data": (memory.address, False), "version": 3}
    there = SimpleNamespace(__cuda_array_interface__={**interface, "strides": (pitch, 3, 1)}, keep=memory)
    for frame in [*frames, *frames]:
        expected = runner.run(frame, "bgr")
        staging.array((height, pitch), np.uint8)[:, : 3 * width] = frame.reshape(height, -1)
        with gpu.current():
            gpu.copy(memory.address, staging.address, height * pitch)
        result = runner.run_on_device(there, "bgr", gpu.stream)
        result.synchronize()
        with gpu.current():
            view = gpu.view(result.labels)  # what a library would read through either protocol
        assert (view.address, view.shape, view.dtype) == (result.labels.address, (height, width), np.uint8)
        found = result.to_host()
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_array_equal(found.confidence, expected.confidence)
    assert runner.graph_refusal is None


def test_stages_take_time(open_runner: Any, frames: list[np.ndarray]) -> None:
    runner = open_runner(time_stages=True)
    timings = runner.run(frames[0], "bgr").timings
    assert list(timings)[:-1] == ["upload", "preprocess", "inference", "refinement", "upsampling", "download"]
    assert all(value >= 0 for value in timings.values())


def test_threads_record_and_free_at_the_same_time(open_runner: Any, frames: list[np.ndarray]) -> None:
    runners = [open_runner(), open_runner()]
    expected = [runners[0].run(frame, "bgr").labels for frame in frames]
    wrong: list[int] = []

    def work(index: int) -> None:
        for turn in range(6):
            chosen = (index + turn) % len(frames)
            frame = frames[chosen][: 60 + index]  # every thread's size drops the others' recordings and memory
            runner = runners[index % 2]
            if (
                runner.run(frames[chosen], "bgr").labels.shape != expected[chosen].shape
                or runner.run(frame, "bgr") is None
            ):
                wrong.append(chosen)
            if not np.array_equal(runner.run(frames[chosen], "bgr").labels, expected[chosen]):
                wrong.append(chosen)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert not wrong
    assert not any(thread.is_alive() for thread in threads)
    assert [runner.graph_refusal for runner in runners] == [None, None]
