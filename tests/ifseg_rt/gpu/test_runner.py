"""The device path over a stand-in for the GPU (see conftest): the labels of the host path; memory, order, errors."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
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


@pytest.mark.parametrize("settings", [(3, 2), (5, 7), (3, 0), None])
@pytest.mark.parametrize("cuda_graph", [True, False])
def test_same_as_the_host_path(open_device: Any, model_path: Path, settings: Any, cuda_graph: bool) -> None:
    path, gpu, _ = open_device(settings=settings, cuda_graph=cuda_graph)
    for seed, color in ((1, "bgr"), (2, "bgr"), (3, "bgr"), (4, "rgb"), (5, "rgb"), (6, "bgr")):
        frame = picture(seed)
        found, expected = path.run(frame, color), host_result(model_path, frame, settings, color)
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-6)
        assert found.color == color
        assert set(found.timings) == {"total"}
    # Recorded are the second frames of each channel order; the later ones are replayed.
    assert gpu.launches == (4 if cuda_graph else 0)


def test_frames_of_any_kind(open_device: Any, model_path: Path) -> None:
    path, _, _ = open_device()
    base = picture(7, 60, 80)
    for frame in (base[:, ::-1], base[::2], base[:, :, 0], np.dstack([base, base[:, :, 0]]), base[:, :, :1]):
        np.testing.assert_array_equal(path.run(frame, "bgr").labels, host_result(model_path, frame, (3, 2)).labels)
    with pytest.raises(SourceError, match="must be uint8"):
        path.run(base.astype(np.float32), "bgr")
    with pytest.raises(SourceError, match="is None"):
        path.run(None, "bgr")


@pytest.mark.parametrize("cuda_graph", [True, False])
def test_frames_on_the_gpu_are_read_in_place(open_device: Any, model_path: Path, on_gpu: Any, cuda_graph: bool) -> None:
    path, gpu, _ = open_device(cuda_graph=cuda_graph)
    wide = np.zeros((90, 200, 3), np.uint8)
    before = 0
    for seed in range(4):
        wide[:, :130] = picture(seed)
        view = wide[:, :130]  # rows 600 bytes apart
        found = path.run(on_gpu(view), "bgr")
        np.testing.assert_array_equal(found.labels, host_result(model_path, view, (3, 2)).labels)
        if seed == 0:
            before = gpu.allocations
    assert gpu.allocations == before + 1  # a block, since the last result is kept meanwhile; nothing for frames
    assert gpu.launches == (3 if cuda_graph else 0)


def test_nothing_is_allocated_once_a_size_is_known(open_device: Any) -> None:
    path, gpu, _ = open_device()
    path.run(picture(0), "bgr")
    known = gpu.allocations
    for seed in range(10):
        path.run(picture(seed), "bgr")  # the result is dropped, so its memory is used again
    assert gpu.allocations == known


def test_a_new_size_drops_memory_and_recordings(open_device: Any, model_path: Path) -> None:
    path, gpu, _ = open_device()
    for height, width in ((90, 130), (90, 130), (90, 130), (40, 50), (40, 50), (130, 90), (90, 130), (90, 130)):
        frame = picture(height + width, height, width)
        np.testing.assert_array_equal(path.run(frame, "bgr").labels, host_result(model_path, frame, (3, 2)).labels)
    assert gpu.launches == 2 + 1 + 0 + 1


def test_results_are_the_callers_for_good(open_device: Any) -> None:
    path, _, _ = open_device()
    results = [path.run(picture(seed), "bgr") for seed in range(9)]  # more than there are blocks
    kept = [result.labels.copy() for result in results]
    probabilities = [result.probabilities.copy() for result in results]
    for seed in range(20):
        path.run(picture(100 + seed, 70, 60) if seed == 10 else picture(100 + seed), "bgr")
    path.close()
    del path
    gc.collect()
    for result, labels, planes in zip(results, kept, probabilities, strict=True):
        np.testing.assert_array_equal(result.labels, labels)
        np.testing.assert_array_equal(result.probabilities, planes)
        assert result.labels.flags.writeable


def test_wide_labels(open_device: Any, make_many: Callable[[int], Path]) -> None:
    model = make_many(300)
    path, _, _ = open_device(model, settings=None)
    frame = picture(3)
    found = path.run(frame, "bgr")
    assert found.labels.dtype == np.uint16
    np.testing.assert_array_equal(found.labels, host_result(model, frame, None).labels)


def test_stages_are_timed_when_asked(open_device: Any, on_gpu: Any) -> None:
    path, gpu, _ = open_device(time_stages=True)
    stages = ["preprocess", "inference", "refinement", "upsampling", "download", "total"]
    for seed in range(3):
        assert list(path.run(picture(seed), "bgr").timings) == ["upload", *stages]
    assert list(path.run(on_gpu(picture(4)), "bgr").timings) == stages
    assert gpu.launches == 0


def test_a_network_that_cannot_be_recorded_is_said_once(
    open_device: Any, model_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, gpu, network = open_device()
    network.refusal = "it has a node on the CPU"
    for seed in range(5):
        frame = picture(seed)
        np.testing.assert_array_equal(path.run(frame, "bgr").labels, host_result(model_path, frame, (3, 2)).labels)
    assert (gpu.launches, path.graph_refusal) == (0, "it has a node on the CPU")
    assert [r.getMessage() for r in caplog.records if "CUDA graph" in r.getMessage()] == [
        "frames are launched piece by piece, without a CUDA graph: it has a node on the CPU"
    ]


def test_a_recording_that_fails_falls_back(open_device: Any, model_path: Path) -> None:
    path, gpu, network = open_device()
    plain = network.enqueue

    def enqueue() -> None:
        if gpu.recording is not None:
            raise RuntimeError("CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED: operation not permitted\nwhen capturing")
        plain()

    network.enqueue = enqueue
    for seed in range(4):
        frame = picture(seed)
        np.testing.assert_array_equal(path.run(frame, "bgr").labels, host_result(model_path, frame, (3, 2)).labels)
    assert path.graph_refusal == (
        "recording a frame failed: CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED: operation not permitted"
    )


def test_values_that_are_not_finite(open_device: Any) -> None:
    path, gpu, _ = open_device(cuda_graph=False)
    kernels, plain = gpu.kernels, gpu.kernels.preprocess
    nan = np.full(96, np.nan, np.float32)

    def broken(*arguments: Any, out: int, **options: Any) -> None:
        plain(*arguments, out=out, **options)
        gpu.copy(out, nan.ctypes.data, nan.nbytes)

    kernels.preprocess = broken
    with pytest.raises(DeviceError, match="not finite on cuda"):
        path.run(picture(0), "bgr")
    with pytest.raises(DeviceError, match="not finite"):
        path.run_on_device(picture(0), "bgr", None).synchronize()
    kernels.preprocess = plain
    assert path.run(picture(0), "bgr").labels.shape == (90, 130)


def test_errors_of_the_gpu_are_device_errors(open_device: Any) -> None:
    path, gpu, _ = open_device()

    plain, full = gpu.allocate, [True]

    def allocate(size: int) -> Any:
        if full[0]:
            raise RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: out of memory")
        return plain(size)

    gpu.allocate = gpu.allocate_pinned = allocate
    with pytest.raises(DeviceError, match="failed: CUDA_ERROR_OUT_OF_MEMORY") as caught:
        path.run(picture(0), "bgr")
    assert "nvidia-smi" in str(caught.value.hint)
    full[0] = False
    assert path.run(picture(0), "bgr").labels.shape == (90, 130)


def test_closing(open_device: Any) -> None:
    path, _, _ = open_device()
    result = path.run_on_device(picture(0), "bgr", None)
    path.close()
    path.close()
    with pytest.raises(UsageError, match="is closed"):
        path.run(picture(0), "bgr")
    with pytest.raises(UsageError, match="called again or closed"):
        result.to_host()


def test_a_path_that_is_dropped_waits_for_its_work(open_device: Any, on_gpu: Any) -> None:
    path, gpu, network = open_device()
    frame = on_gpu(picture(0))
    kept, seen = weakref.ref(frame), []
    path.run_on_device(frame, "bgr", None)
    gpu.queue.append(lambda: seen.append(kept() is not None))
    del frame, path
    gc.collect()
    assert seen == [True], "its work was done, with the frame it reads still there"
    assert not gpu.queue
    assert kept() is None
    with pytest.raises(DeviceError, match="closed"):
        network.bind({})


def test_threads_take_turns(open_device: Any) -> None:
    path, _, _ = open_device()
    frames = [picture(seed, 60 + 10 * (seed % 2), 80) for seed in range(6)]
    expected = [path.run(frame, "bgr").labels for frame in frames]
    wrong: list[int] = []

    def work(index: int) -> None:
        for turn in range(15):
            chosen = (index + turn) % len(frames)
            if not np.array_equal(path.run(frames[chosen], "bgr").labels, expected[chosen]):
                wrong.append(chosen)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not wrong
    assert not any(thread.is_alive() for thread in threads)
