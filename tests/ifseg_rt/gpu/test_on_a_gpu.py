"""What only a GPU can show. Everything here is skipped, with the reason, where there is none."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ifseg_rt import Segmenter
from ifseg_rt.artifact.shipped import default_model_path
from ifseg_rt.backends.onnx_runtime.session import CUDA, import_runtime, why_no_gpu
from ifseg_rt.errors import DeviceError, IfsegError, UsageError
from ifseg_rt.kernels.launches import plan_finite
from ifseg_rt.machine import this_machine
from ifseg_rt.upsampling.labels import upsample_labels

_MACHINE = this_machine()
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(_MACHINE.gpu is None, reason=f"no GPU: {_MACHINE.reason}"),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path | str]:
    """The shipped model for every run time, or why it cannot be had here."""
    found: dict[str, Path | str] = {}
    folder = tmp_path_factory.mktemp("engine")
    for suffix in (".onnx", ".json"):
        (folder / f"model{suffix}").write_bytes(default_model_path().with_suffix(suffix).read_bytes())
    found["onnx"] = folder / "model.onnx"
    try:
        from ifseg_rt.tensorrt.building.rebuild import rebuild_engine

        rebuild_engine(folder / "model.onnx")
        found["engine"] = folder / "model.engine"
    except IfsegError as error:
        found["engine"] = str(error)
    return found


@pytest.fixture(params=["onnx", "engine"])
def model(request: pytest.FixtureRequest, models: dict[str, Path | str]) -> Path:
    found = models[request.param]
    if isinstance(found, str):
        pytest.skip(found)
    return found


def not_installed(model: Path) -> str | None:
    """What is missing on this machine, which is no fault of the code."""
    try:
        import_module("cuda.core")
    except ImportError as error:
        return f"the kernels need cuda-core: {error}"
    if model.suffix != ".onnx":
        return None
    runtime = import_runtime()
    if CUDA not in runtime.get_available_providers():
        return "this ONNX Runtime is built for the CPU only"
    return why_no_gpu(runtime, "cuda")


@pytest.fixture
def open_gpu(model: Path) -> Iterator[Any]:
    """Segmenters that work on the GPU throughout."""
    opened: list[Segmenter] = []
    if (missing := not_installed(model)) is not None:
        pytest.skip(missing)

    def make(**options: Any) -> Segmenter:
        device = "cuda" if model.suffix == ".onnx" else "auto"
        try:
            segmenter = Segmenter(model, device=device, **options)
        except DeviceError as error:
            if device == "cuda":
                raise
            pytest.skip(str(error))  # TensorRT has its own opinion of GPUs
        assert segmenter.fallback_reason is None
        opened.append(segmenter)
        return segmenter

    yield make
    for segmenter in opened:
        segmenter.close()


@pytest.fixture(scope="module")
def sample() -> np.ndarray:
    return cv2.imread(str(default_model_path().with_name("sample.jpg")))


class GpuPicture:
    """A picture in GPU memory as array libraries offer it, rows further apart than they are long."""

    def __init__(self, picture: np.ndarray) -> None:
        from ifseg_rt.gpu.device import Gpu

        gpu = Gpu()
        height, width, _ = picture.shape
        self.pitch = 3 * width + 64
        self.shape = picture.shape
        with gpu.current():
            self.memory = gpu.allocate(height * self.pitch)
            staging = gpu.allocate_pinned(height * self.pitch)
            staging.array((height, self.pitch), np.uint8)[:, : 3 * width] = picture.reshape(height, -1)
            gpu.copy(self.memory.address, staging.address, height * self.pitch)
            gpu.synchronize()
        self.gpu = gpu

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        address, strides = (self.memory.address, False), (self.pitch, 3, 1)
        return {"shape": self.shape, "typestr": "|u1", "data": address, "strides": strides, "version": 3}


def agreement(first: np.ndarray, second: np.ndarray) -> float:
    return float((first == second).mean())


@pytest.mark.parametrize("refine", [True, (5, 7), (3, 0), False])
def test_labels_are_those_of_the_host_runner(open_gpu: Any, models: Any, sample: np.ndarray, refine: Any) -> None:
    with Segmenter(models["onnx"], device="cpu", refine=refine) as host:
        expected = host(sample)
    segmenter = open_gpu(refine=refine)
    for frame in (sample, sample, sample[:, ::-1], sample[::2]):
        segmenter(frame)
    found = segmenter(sample)
    assert agreement(found.labels, expected.labels) > 0.995  # other order of summation in the network
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=0.02)
    if refine is not False:  # then labels come from the logits
        exact = upsample_labels(found.probabilities, *sample.shape[:2])
        np.testing.assert_array_equal(found.labels, exact)


def test_graph_on_and_off_are_equal(open_gpu: Any, sample: np.ndarray) -> None:
    recorded, plain = open_gpu(), open_gpu(cuda_graph=False)
    frames = [sample, sample[:, ::-1], sample[::-1], 255 - sample]
    for _ in range(2):
        for frame in frames:
            np.testing.assert_array_equal(recorded(frame).labels, plain(frame).labels)


def test_stages_are_timed_when_asked(open_gpu: Any, sample: np.ndarray) -> None:
    segmenter = open_gpu(time_stages=True)
    segmenter(sample)
    timings = segmenter(sample).timings
    stages = ["upload", "preprocess", "inference", "refinement", "upsampling", "download", "total"]
    assert list(timings) == stages
    assert all(value >= 0 for value in timings.values())
    assert sum(value for stage, value in timings.items() if stage != "total") <= timings["total"] * 1.05


def test_frames_on_the_gpu(open_gpu: Any, sample: np.ndarray) -> None:
    segmenter = open_gpu()
    there = GpuPicture(sample)
    expected = segmenter(sample)
    for _ in range(3):
        np.testing.assert_array_equal(segmenter(there).labels, expected.labels)
        result = segmenter.on_device(there, stream=there.gpu.stream)
        np.testing.assert_array_equal(result.to_host().labels, expected.labels)
    result = segmenter.on_device(there)
    kept = result.copy()
    segmenter(255 - sample)
    with pytest.raises(UsageError, match="was overwritten"):
        result.to_host()
    np.testing.assert_array_equal(kept.to_host().labels, expected.labels)


def test_results_through_dlpack(open_gpu: Any, sample: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    segmenter = open_gpu()
    expected = segmenter(sample)
    frame = torch.from_numpy(sample).cuda()
    result = segmenter.on_device(frame)
    assert torch.equal(torch.from_dlpack(result.labels).cpu(), torch.from_numpy(expected.labels))
    assert torch.equal(torch.as_tensor(result.labels, device="cuda").cpu(), torch.from_numpy(expected.labels))
    planes = torch.from_dlpack(result.probabilities)
    np.testing.assert_allclose(planes.cpu().numpy(), expected.probabilities, atol=1e-6)
    assert torch.cuda.current_device() == 0


def test_threads(open_gpu: Any, sample: np.ndarray) -> None:
    segmenters = [open_gpu(), open_gpu()]
    frames = [np.ascontiguousarray(np.roll(sample, 40 * shift, axis=1)[: 400 + 20 * (shift % 2)]) for shift in range(4)]
    expected = [segmenters[0](frame).labels for frame in frames]
    wrong: list[int] = []

    def work(index: int) -> None:
        for turn in range(20):
            chosen = (index + turn) % len(frames)
            if not np.array_equal(segmenters[index % 2](frames[chosen]).labels, expected[chosen]):
                wrong.append(chosen)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert not wrong
    assert not any(thread.is_alive() for thread in threads)


def test_an_engine_outlives_the_first_segmenter_of_it(models: Any, sample: np.ndarray) -> None:
    if isinstance(models["engine"], str):
        pytest.skip(models["engine"])
    try:
        first, second = Segmenter(models["engine"]), Segmenter(models["engine"])
    except DeviceError as error:
        pytest.skip(str(error))
    with first, second:
        np.testing.assert_array_equal(first(sample).labels, second(sample).labels)
        first.close()
        assert second(sample).labels.shape == sample.shape[:2]


def test_values_that_are_not_finite_are_found() -> None:
    from ifseg_rt.gpu.device import Gpu

    pytest.importorskip("cuda.core", reason="the kernels need cuda-core")
    gpu = Gpu()
    values = np.random.default_rng(0).normal(size=100_003).astype(np.float32)
    with gpu.current():
        memory, host = gpu.allocate(values.nbytes), gpu.allocate_pinned(values.nbytes)
        flags, found = gpu.allocate(256), gpu.allocate_pinned(256)
        for place, value in ((None, 0.0), (0, np.nan), (100_002, np.inf), (50_000, -np.inf)):
            host.array((values.size,), np.float32)[:] = values
            if place is not None:
                host.array((values.size,), np.float32)[place] = value
            gpu.copy(memory.address, host.address, values.nbytes)
            gpu.launch(plan_finite(memory.address, values.size, flags=flags.address, blocks=64))
            gpu.copy(found.address, flags.address, 256)
            gpu.synchronize()
            assert bool(found.array((64,), np.int32).any()) == (place is not None)
