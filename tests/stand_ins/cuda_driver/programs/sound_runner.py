"""Tests of the GPU runner that only make sense over the stand-in: what it can see and a GPU does not tell.

Run by ``test_gpu_tests.py``; ordinary runs do not collect this file. A broken rule fails every test here.
"""

from __future__ import annotations

import ctypes
import gc
import os
import runpy
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ifseg_rt.gpu.device import Gpu
from ifseg_rt.gpu.runner import GpuRunner
from ifseg_rt.kernels.compile import SOURCES
from ifseg_rt.kernels.launches import plan_softmax
from ifseg_rt.options import Averaging, Extras

pytestmark = pytest.mark.gpu
TESTS = runpy.run_path(str(Path(__file__).parents[3] / "ifseg_rt" / "gpu" / "test_runner_on_a_gpu.py"))
ARTIFACT, Copies = TESTS["ARTIFACT"], TESTS["Copies"]
FRAMES = [np.random.default_rng(seed).integers(0, 256, (40 + seed, 50, 3), dtype=np.uint8) for seed in range(3)]
LONGEST = 120  # seconds: only so that a deadlock ends
driver = ctypes.CDLL(os.environ["DRIVER_STAND_IN"])
driver.stand_in_alive.restype = ctypes.c_char_p


def alive() -> str:
    gc.collect()
    return driver.stand_in_alive().decode()


def open_runner(**options: Any) -> GpuRunner:
    gpu = Gpu()
    with gpu.current():
        network: Any = Copies(gpu)
    extras = Extras(confidence=True, overlay=0.5)
    return GpuRunner(gpu, network, ARTIFACT, Averaging.of((3, 2), ARTIFACT), extras, **options)


def in_threads(*work: Callable[[], None]) -> None:
    failed: list[BaseException] = []

    def guarded(piece: Callable[[], None]) -> None:
        try:
            piece()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(piece,), daemon=True) for piece in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=LONGEST)
    assert not any(thread.is_alive() for thread in threads), "a deadlock"
    assert not failed, failed


@pytest.fixture(autouse=True)
def everything_is_freed() -> Iterator[None]:
    contexts = driver.stand_in_contexts()
    yield
    assert alive() == ""
    assert driver.stand_in_contexts() == contexts, "the thread has not the context it had before"


def test_the_first_launch_of_a_kernel_may_be_recorded() -> None:
    """Comes first: afterwards the kernel is on the GPU anyway."""
    gpu = Gpu()
    with gpu.current():
        memory = gpu.allocate(4096)
        planes = memory.address + 2048
        replay = gpu.record(lambda: gpu.launch(plan_softmax(memory.address, 8, 8, planes=planes)))
        replay.launch()
        replay.launch()
        gpu.synchronize()


@pytest.mark.parametrize("cuda_graph", [True, False])
@pytest.mark.parametrize("time_stages", [True, False])
def test_a_closed_path_leaves_nothing(cuda_graph: bool, time_stages: bool) -> None:
    runner = open_runner(cuda_graph=cuda_graph, time_stages=time_stages)
    results = [runner.run(frame, "bgr") for frame in (*FRAMES, *FRAMES[:1] * 3)]
    assert len({result.labels.ctypes.data for result in results}) == len(results)
    on_device = runner.run_on_device(FRAMES[0], "rgb", None)
    copied = on_device.copy()
    runner.close()
    np.testing.assert_array_equal(copied.to_host().labels.shape, FRAMES[0].shape[:2])


def test_a_path_that_nobody_closes_leaves_nothing() -> None:
    runner = open_runner()
    for _ in range(3):
        runner.run(FRAMES[0], "bgr")
    assert "executable graphs: 1" in alive()


@pytest.mark.parametrize("cuda_graph", [True, False])
def test_a_path_that_nobody_closes_waits_for_its_work(cuda_graph: bool) -> None:
    """Freed memory is overwritten by the stand-in, so work that came too late would show."""
    runner = open_runner(cuda_graph=cuda_graph)
    for _ in range(3):
        runner.run_on_device(FRAMES[0], "bgr", None)
    del runner


def test_results_outlive_their_path() -> None:
    runner = open_runner()
    labels = runner.run(FRAMES[0], "bgr").labels
    before = labels.copy()
    runner.close()
    del runner
    assert "page-locked blocks: 1" in alive()
    np.testing.assert_array_equal(labels, before)


@pytest.mark.parametrize("cuda_graph", [True, False])
def test_sizes_change_and_paths_close_with_work_on_its_way(cuda_graph: bool) -> None:
    runner = open_runner(cuda_graph=cuda_graph)
    for frame in FRAMES:
        for _ in range(4):
            runner.run_on_device(frame, "bgr", None)  # nobody waits for any of them
    runner.close()


def test_a_frame_that_is_still_on_its_way_is_not_overwritten() -> None:
    runner = open_runner()
    first, second = FRAMES[0], 255 - FRAMES[0]
    expected = runner.run(first, "bgr").labels.copy()
    assert (runner.run(second, "bgr").labels != expected).any()
    for _ in range(3):
        kept = runner.run_on_device(first, "bgr", None).copy()
        runner.run(second, "bgr")
        np.testing.assert_array_equal(kept.to_host().labels, expected)
    runner.close()


def test_machine_code_is_loaded_once() -> None:
    for _ in range(3):
        open_runner().close()
    assert driver.stand_in_libraries() == len(SOURCES)


@pytest.mark.parametrize("elsewhere", [True, False])
def test_memory_may_be_dropped_while_recording(elsewhere: bool) -> None:
    """By the recording thread and by others; others may also take memory meanwhile."""
    gpu, other = Gpu(), Gpu()
    with gpu.current():
        kept = [gpu.allocate(64), gpu.allocate_pinned(64)]

    def drop_and_take() -> None:
        kept.clear()
        with other.current():
            other.allocate(64), other.allocate_pinned(64)

    def work() -> None:
        if elsewhere:
            in_threads(drop_and_take)
        else:
            kept.clear()

    with gpu.current():
        gpu.record(work)


def test_threads_record_run_and_free_at_the_same_time() -> None:
    runners = [open_runner() for _ in range(2)]
    expected = [runners[0].run(frame, "bgr").labels.copy() for frame in FRAMES]

    def frames_of_changing_size(runner: GpuRunner) -> None:
        for turn in range(4):
            chosen = turn % len(FRAMES)
            for _ in range(3):  # launched, recorded, replayed, unless another thread came in between
                np.testing.assert_array_equal(runner.run(FRAMES[chosen], "bgr").labels, expected[chosen])
        assert driver.stand_in_contexts() == 0

    in_threads(*(lambda runner=runner: frames_of_changing_size(runner) for runner in (*runners, *runners)))
    assert [runner.graph_refusal for runner in runners] == [None, None]
    for runner in runners:
        runner.close()


def test_work_that_fails_while_recording_leaves_a_usable_stream() -> None:
    gpu = Gpu()

    def fail() -> None:
        raise ValueError("in the middle")

    with gpu.current():
        memory, host = gpu.allocate(64), gpu.allocate_pinned(64)
        with pytest.raises(ValueError, match="in the middle"):
            gpu.record(fail)
        replay = gpu.record(lambda: gpu.copy(memory.address, host.address, 64))
        replay.launch()
        gpu.synchronize()
