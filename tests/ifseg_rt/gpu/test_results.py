"""Results that stay on the GPU, over the stand-in: who may read them when, and for how long."""

from __future__ import annotations

import gc
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ifseg_rt import Segmenter
from ifseg_rt.errors import SourceError, UsageError


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (90, 130, 3), dtype=np.uint8)


def test_nothing_waits_and_nothing_is_lost(open_gpu_runner: Any, model_path: Path, on_gpu: Any) -> None:
    runner, gpu, _ = open_gpu_runner()
    for seed in range(4):
        frame = picture(seed)
        result = runner.run_on_device(on_gpu(frame) if seed % 2 else frame, "bgr", None)
        assert gpu.queue, "the work is enqueued, not done"
        kept = result.copy()
        with Segmenter(model_path, threads=1, device="cpu") as segmenter:
            expected = segmenter(frame)
        on_host = result.to_host()
        np.testing.assert_array_equal(on_host.labels, expected.labels)
        np.testing.assert_allclose(on_host.probabilities, expected.probabilities, atol=1e-6)
        assert on_host.categories == expected.categories
        assert on_host.shares == expected.shares
        runner.run(picture(99), "bgr")
        np.testing.assert_array_equal(kept.to_host().labels, expected.labels)


def test_staged_frames_are_not_overwritten_before_they_are_read(open_gpu_runner: Any) -> None:
    runner, _, _ = open_gpu_runner(cuda_graph=False)
    first = runner.run_on_device(picture(1), "bgr", None).copy()
    second = runner.run_on_device(picture(2), "bgr", None).copy()
    np.testing.assert_array_equal(first.to_host().labels, runner.run(picture(1), "bgr").labels)
    np.testing.assert_array_equal(second.to_host().labels, runner.run(picture(2), "bgr").labels)


def test_frames_live_until_the_gpu_has_read_them(open_gpu_runner: Any, on_gpu: Any) -> None:
    runner, gpu, _ = open_gpu_runner()
    frames: list[weakref.ref[Any]] = []
    there: list[bool] = []
    for seed in range(20):
        frame = on_gpu(picture(seed))
        frames.append(weakref.ref(frame))
        runner.run_on_device(frame, "bgr", None)
        gpu.queue.append(lambda kept=frames[-1]: there.append(kept() is not None))
    del frame
    gc.collect()
    assert 0 < sum(kept() is not None for kept in frames) <= 8
    runner.run(picture(0), "bgr")
    gc.collect()
    assert there == [True] * 20
    assert not any(kept() is not None for kept in frames)


def test_stale_results_are_refused(open_gpu_runner: Any) -> None:
    runner, _, _ = open_gpu_runner()
    result = runner.run_on_device(picture(0), "bgr", None)
    labels = result.labels
    runner.run(picture(1), "bgr")
    for use in (
        result.to_host,
        result.copy,
        result.synchronize,
        labels.__dlpack__,
        lambda: labels.__cuda_array_interface__,
    ):
        with pytest.raises(UsageError, match="was overwritten"):
            use()


def test_the_protocols(open_gpu_runner: Any) -> None:
    runner, gpu, _ = open_gpu_runner()
    result = runner.run_on_device(picture(0), "bgr", None)
    gpu.ordered.clear()
    interface = result.labels.__cuda_array_interface__
    assert gpu.ordered == [("lead", 0)]  # for readers that do not look at its stream
    assert interface == {
        "shape": (90, 130),
        "typestr": "|u1",
        "data": (result.labels.address, False),
        "strides": None,
        "version": 3,
        "stream": gpu.stream_address,
    }
    planes = result.probabilities.__cuda_array_interface__
    assert (planes["shape"], planes["typestr"]) == ((4, 8, 12), "<f4")
    assert planes["data"][0] % 256 == interface["data"][0] % 256 == 0
    assert result.labels.__dlpack_device__() == (2, 0)
    result.synchronize()
    for stream, expected in ((None, [("lead", 0)]), (-1, []), (7, [("lead", 7)]), (1, [("lead", 1)])):
        gpu.ordered.clear()
        result.labels.__dlpack__(stream=stream)
        assert gpu.ordered == expected


def test_the_callers_stream(open_gpu_runner: Any) -> None:
    runner, gpu, _ = open_gpu_runner()

    class Stream:
        def __cuda_stream__(self) -> tuple[int, int]:
            return 0, 77

    runner.run_on_device(picture(0), "bgr", Stream())
    assert gpu.ordered == [("follow", 77), ("lead", 77)]
    with pytest.raises(UsageError, match="must be a CUDA stream"):
        runner.run_on_device(picture(0), "bgr", "fast")


def test_frames_that_cannot_be_read_leave_the_last_result_valid(open_gpu_runner: Any, on_gpu: Any) -> None:
    runner, _, _ = open_gpu_runner()
    result = runner.run_on_device(picture(0), "bgr", None)
    with pytest.raises(SourceError, match="GPU 1, the model on GPU 0"):
        runner.run_on_device(on_gpu(picture(1), device=1), "bgr", None)
    with pytest.raises(SourceError, match="H x W x 3"):
        runner.run_on_device(on_gpu(picture(1)[:, :, 0]), "bgr", None)
    assert result.to_host().labels.shape == (90, 130)


def test_a_segmenter_on_the_host_says_why(model_path: Path, on_gpu: Any) -> None:
    with Segmenter(model_path, device="cpu") as segmenter:
        with pytest.raises(UsageError, match="runs on the host"):
            segmenter.on_device(picture(0))
        with pytest.raises(SourceError, match="must be a NumPy array"):
            segmenter(on_gpu(picture(0)))


@pytest.mark.parametrize("asked", [{"copy": True}, {"dl_device": (1, 0)}, {"dl_device": (2, 1)}])
def test_what_readers_cannot_have(open_gpu_runner: Any, asked: dict[str, Any]) -> None:
    runner, _, _ = open_gpu_runner()
    result = runner.run_on_device(picture(0), "bgr", None)
    result.labels.__dlpack__(stream=-1, max_version=(1, 0), dl_device=(2, 0), copy=False)
    with pytest.raises(BufferError, match="without a copy"):
        result.labels.__dlpack__(**asked)


def test_a_result_given_back_as_a_frame_is_no_deadlock(open_gpu_runner: Any) -> None:
    runner, gpu, _ = open_gpu_runner()
    result = runner.run_on_device(picture(0), "bgr", None)
    errors: list[BaseException] = []

    def view(frame: Any) -> Any:  # asks the owner for the memory, as cuda.core does
        frame.__dlpack__(stream=gpu.stream_address)
        raise BufferError("float32 is no picture")

    def work() -> None:
        try:
            runner.run(result.probabilities, "bgr")
        except SourceError as error:
            errors.append(error)

    gpu.view = view
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(timeout=10)
    assert not thread.is_alive()
    assert "float32 is no picture" in str(errors[0])


def test_memory_that_its_owner_refuses_is_a_source_error(open_gpu_runner: Any) -> None:
    class Refusing:
        """As a tensor with a gradient does."""

        @property
        def __cuda_array_interface__(self) -> dict[str, Any]:
            raise RuntimeError("it requires a gradient, use .detach()")

    runner, gpu, _ = open_gpu_runner()
    gpu.view = lambda frame: frame.__cuda_array_interface__
    with pytest.raises(SourceError, match="Refusing on the GPU cannot be read: it requires a gradient"):
        runner.run(Refusing(), "bgr")


def test_waiting_and_copying_to_the_host_allocate_nothing(open_gpu_runner: Any) -> None:
    runner, gpu, _ = open_gpu_runner()
    runner.run_on_device(picture(0), "bgr", None).synchronize()
    runner.run_on_device(picture(0), "bgr", None).to_host()
    known = gpu.allocations
    for seed in range(8):
        result = runner.run_on_device(picture(seed), "bgr", None)
        for _ in range(2):
            result.synchronize()
            assert result.to_host().labels.shape == (90, 130)
    assert gpu.allocations == known


def test_results_on_the_host_are_the_callers_for_good(open_gpu_runner: Any) -> None:
    runner, _, _ = open_gpu_runner()
    kept = [runner.run_on_device(picture(seed), "bgr", None).to_host() for seed in range(9)]
    seen = [result.labels.copy() for result in kept]
    copy = runner.run_on_device(picture(3), "bgr", None).copy()
    for seed in range(20, 26):
        runner.run(picture(seed), "bgr")
    runner.run(np.zeros((33, 44, 3), np.uint8), "bgr")
    late = copy.to_host()  # its size is no longer the runner's
    runner.close()
    for _ in range(6):
        copy.synchronize()
        kept.append(copy.to_host())
    del runner, copy
    gc.collect()
    for result, labels in zip(kept, [*seen, *[seen[3]] * 6], strict=True):
        np.testing.assert_array_equal(result.labels, labels)
        assert result.labels.flags.writeable
    np.testing.assert_array_equal(late.labels, seen[3])


def test_threads_may_read_results_while_others_call(open_gpu_runner: Any) -> None:
    runner, _, _ = open_gpu_runner()
    copies = [runner.run_on_device(picture(seed), "bgr", None).copy() for seed in range(3)]
    expected = [copy.to_host().labels for copy in copies]
    wrong: list[int] = []

    def work(index: int) -> None:
        for turn in range(15):
            chosen = (index + turn) % len(copies)
            copies[chosen].synchronize()
            found = copies[chosen].to_host().labels
            also = runner.run(picture(chosen), "bgr").labels
            wrong.extend([chosen] * (not all(np.array_equal(labels, expected[chosen]) for labels in (found, also))))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not wrong
    assert not any(thread.is_alive() for thread in threads)
