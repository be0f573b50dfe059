"""The GPU runner over a stand-in for the GPU (see conftest): the labels of the host runner; memory, order, errors."""

from __future__ import annotations

import gc
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ifseg_rt import Segmenter
from ifseg_rt.errors import DeviceError, SourceError, UsageError


def picture(seed: int, height: int = 90, width: int = 130) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def host_result(model: Path, frame: Any, settings: Any, color: str = "bgr") -> Any:
    refine: Any = False if settings is None else settings
    with Segmenter(model, refine=refine, threads=1, device="cpu") as segmenter:
        return segmenter(frame, color)


@pytest.mark.parametrize(("settings", "cuda_graph"), [((3, 2), True), ((3, 0), True), (None, True), ((5, 7), False)])
def test_same_as_the_host_runner(open_gpu_runner: Any, model_path: Path, settings: Any, cuda_graph: bool) -> None:
    runner, gpu, _ = open_gpu_runner(settings=settings, cuda_graph=cuda_graph)
    for seed, color in ((1, "bgr"), (2, "bgr"), (3, "bgr"), (4, "rgb"), (5, "rgb"), (6, "bgr")):
        frame = picture(seed)
        found, expected = runner.run(frame, color), host_result(model_path, frame, settings, color)
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-6)
        assert found.color == color
        assert set(found.timings) == {"total"}
    # Recorded are the second frames of each channel order; the later ones are replayed.
    assert gpu.replays == (4 if cuda_graph else 0)


def test_frames_of_any_kind(open_gpu_runner: Any, model_path: Path) -> None:
    runner, _, _ = open_gpu_runner()
    base = picture(7, 60, 80)
    for frame in (base[:, ::-1], base[::2], base[:, :, 0], np.dstack([base, base[:, :, 0]]), base[:, :, :1]):
        np.testing.assert_array_equal(runner.run(frame, "bgr").labels, host_result(model_path, frame, (3, 2)).labels)
    with pytest.raises(SourceError, match="must be uint8"):
        runner.run(base.astype(np.float32), "bgr")
    with pytest.raises(SourceError, match="is None"):
        runner.run(None, "bgr")


@pytest.mark.parametrize("cuda_graph", [True, False])
def test_frames_on_the_gpu_are_read_in_place(
    open_gpu_runner: Any, model_path: Path, on_gpu: Any, cuda_graph: bool
) -> None:
    runner, gpu, _ = open_gpu_runner(cuda_graph=cuda_graph)
    wide = np.zeros((90, 200, 3), np.uint8)
    before = 0
    for seed in range(4):
        wide[:, :130] = picture(seed)
        view = wide[:, :130]  # rows 600 bytes apart
        found = runner.run(on_gpu(view), "bgr")
        np.testing.assert_array_equal(found.labels, host_result(model_path, view, (3, 2)).labels)
        if seed == 0:
            before = gpu.allocations
    assert gpu.allocations == before + 1  # a block, since the last result is kept meanwhile; nothing for frames
    assert gpu.replays == (3 if cuda_graph else 0)


def test_nothing_is_allocated_once_a_size_is_known(open_gpu_runner: Any) -> None:
    runner, gpu, _ = open_gpu_runner()
    runner.run(picture(0), "bgr")
    known = gpu.allocations
    for seed in range(10):
        runner.run(picture(seed), "bgr")  # the result is dropped, so its memory is used again
    assert gpu.allocations == known


def test_a_new_size_drops_memory_and_recordings(open_gpu_runner: Any, model_path: Path) -> None:
    runner, gpu, _ = open_gpu_runner()
    for height, width in ((90, 130), (90, 130), (90, 130), (40, 50), (40, 50), (130, 90), (90, 130), (90, 130)):
        frame = picture(height + width, height, width)
        np.testing.assert_array_equal(runner.run(frame, "bgr").labels, host_result(model_path, frame, (3, 2)).labels)
    assert gpu.replays == 2 + 1 + 0 + 1


def test_results_are_the_callers_for_good(open_gpu_runner: Any) -> None:
    runner, _, _ = open_gpu_runner()
    results = [runner.run(picture(seed), "bgr") for seed in range(9)]  # more than there are blocks
    kept = [result.labels.copy() for result in results]
    probabilities = [result.probabilities.copy() for result in results]
    for seed in range(20):
        runner.run(picture(100 + seed, 70, 60) if seed == 10 else picture(100 + seed), "bgr")
    runner.close()
    del runner
    gc.collect()
    for result, labels, planes in zip(results, kept, probabilities, strict=True):
        np.testing.assert_array_equal(result.labels, labels)
        np.testing.assert_array_equal(result.probabilities, planes)
        assert result.labels.flags.writeable


def test_stages_are_timed_when_asked(open_gpu_runner: Any, on_gpu: Any) -> None:
    runner, gpu, _ = open_gpu_runner(time_stages=True)
    stages = ["preprocess", "inference", "refinement", "upsampling", "download", "total"]
    for seed in range(3):
        assert list(runner.run(picture(seed), "bgr").timings) == ["upload", *stages]
    assert list(runner.run(on_gpu(picture(4)), "bgr").timings) == stages
    assert gpu.replays == 0


def test_a_network_that_cannot_be_recorded_is_said_once(
    open_gpu_runner: Any, model_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runner, gpu, network = open_gpu_runner()
    network.refusal = "it has a node on the CPU"
    for seed in range(5):
        frame = picture(seed)
        np.testing.assert_array_equal(runner.run(frame, "bgr").labels, host_result(model_path, frame, (3, 2)).labels)
    assert (gpu.replays, runner.graph_refusal) == (0, "it has a node on the CPU")
    assert [r.getMessage() for r in caplog.records if "CUDA graph" in r.getMessage()] == [
        "frames are launched piece by piece, without a CUDA graph: it has a node on the CPU"
    ]


def test_a_recording_that_fails_falls_back(open_gpu_runner: Any, model_path: Path) -> None:
    runner, gpu, network = open_gpu_runner()
    plain = network.enqueue

    def enqueue() -> None:
        if gpu.recording is not None:
            raise RuntimeError("CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED: operation not permitted\nwhen capturing")
        plain()

    network.enqueue = enqueue
    for seed in range(4):
        frame = picture(seed)
        np.testing.assert_array_equal(runner.run(frame, "bgr").labels, host_result(model_path, frame, (3, 2)).labels)
    assert runner.graph_refusal == (
        "recording a frame failed: CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED: operation not permitted"
    )


def test_a_run_that_fails_is_a_device_error_and_the_next_frame_works(open_gpu_runner: Any) -> None:
    runner, _, network = open_gpu_runner()
    good = network.enqueue

    def failing() -> None:
        raise DeviceError("TensorRT failed to run model.engine: CUDA error 2")

    network.enqueue = failing
    for _ in range(2):
        with pytest.raises(DeviceError, match=r"^TensorRT failed to run model\.engine: CUDA error 2$"):
            runner.run(picture(0), "bgr")
    network.enqueue = good
    labels = [runner.run(picture(0), "bgr").labels for _ in range(3)]
    assert all(np.array_equal(found, labels[0]) for found in labels)
    assert runner.graph_refusal is None


def test_values_that_are_not_finite(open_gpu_runner: Any, array_at: Any) -> None:
    runner, gpu, _ = open_gpu_runner(cuda_graph=False)
    plain = gpu.run_kernel
    nan = np.full(96, np.nan, np.float32)

    def broken(launch: Any) -> None:
        plain(launch)
        if launch.kernel == "preprocess":
            array_at(launch.arguments[-4], nan.shape, nan.dtype)[:] = nan

    gpu.run_kernel = broken
    with pytest.raises(DeviceError, match="not finite on cuda"):
        runner.run(picture(0), "bgr")
    with pytest.raises(DeviceError, match="not finite"):
        runner.run_on_device(picture(0), "bgr", None).synchronize()
    gpu.run_kernel = plain
    assert runner.run(picture(0), "bgr").labels.shape == (90, 130)


def test_errors_of_the_gpu_are_device_errors(open_gpu_runner: Any) -> None:
    runner, gpu, _ = open_gpu_runner()

    plain, full = gpu.allocate, [True]

    def allocate(size: int) -> Any:
        if full[0]:
            raise RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: out of memory")
        return plain(size)

    gpu.allocate = gpu.allocate_pinned = allocate
    with pytest.raises(DeviceError, match="failed: CUDA_ERROR_OUT_OF_MEMORY") as caught:
        runner.run(picture(0), "bgr")
    assert "nvidia-smi" in str(caught.value.hint)
    full[0] = False
    assert runner.run(picture(0), "bgr").labels.shape == (90, 130)


def test_closing(open_gpu_runner: Any) -> None:
    runner, _, _ = open_gpu_runner()
    result = runner.run_on_device(picture(0), "bgr", None)
    runner.close()
    runner.close()
    with pytest.raises(UsageError, match="is closed"):
        runner.run(picture(0), "bgr")
    with pytest.raises(UsageError, match="called again or closed"):
        result.to_host()


def test_a_path_that_is_dropped_waits_for_its_work(open_gpu_runner: Any, on_gpu: Any) -> None:
    runner, gpu, network = open_gpu_runner()
    frame = on_gpu(picture(0))
    kept, seen = weakref.ref(frame), []
    runner.run_on_device(frame, "bgr", None)
    gpu.queue.append(lambda: seen.append(kept() is not None))
    del frame, runner
    gc.collect()
    assert seen == [True], "its work was done, with the frame it reads still there"
    assert not gpu.queue
    assert kept() is None
    with pytest.raises(DeviceError, match="closed"):
        network.bind({})


def test_threads_take_turns(open_gpu_runner: Any) -> None:
    runner, _, _ = open_gpu_runner()
    frames = [picture(seed, 60 + 10 * (seed % 2), 80) for seed in range(6)]
    expected = [runner.run(frame, "bgr").labels for frame in frames]
    wrong: list[int] = []

    def work(index: int) -> None:
        for turn in range(15):
            chosen = (index + turn) % len(frames)
            if not np.array_equal(runner.run(frames[chosen], "bgr").labels, expected[chosen]):
                wrong.append(chosen)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not wrong
    assert not any(thread.is_alive() for thread in threads)
