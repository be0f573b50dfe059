"""Loading on a make-believe device: everything is loaded at once, shared memory is asked for, calls go through."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ifseg_rt.errors import DeviceError
from ifseg_rt.kernels import loaded
from ifseg_rt.kernels.compile import SOURCES
from ifseg_rt.kernels.launches import plan_softmax
from ifseg_rt.kernels.loaded import LoadedKernels


class Recorder:
    """A device, cuda.core and the driver, all pretended."""

    def __init__(self, shared_limit: int, status: int = 0) -> None:
        self.loaded: list[tuple[str, tuple[int, int]]] = []
        self.asked: list[tuple[object, int, object, int]] = []
        self.launched: list[tuple[object, ...]] = []
        self.current = False
        self.status = status
        self.device = SimpleNamespace(
            device_id=3,
            set_current=lambda: setattr(self, "current", True),
            properties=SimpleNamespace(max_shared_memory_per_block_optin=shared_limit),
            compute_capability=SimpleNamespace(major=8, minor=7),
        )
        self.core = SimpleNamespace(
            LaunchConfig=lambda **settings: settings, launch=lambda *given: self.launched.append(given)
        )
        names = SimpleNamespace(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES="most shared bytes")
        self.driver = SimpleNamespace(
            CUfunction_attribute=names,
            cuKernelSetAttribute=self.ask,
            cuKernelGetFunction=lambda kernel: (0, f"function, {kernel}"),
            cuFuncLoad=self.load_now,
        )
        self.on_device: list[str] = []
        self.no_room = 0

    def ask(self, attribute: object, value: int, kernel: object, device: int) -> tuple[int]:
        self.asked.append((attribute, value, kernel, device))
        return (self.status,)

    def load_now(self, function: str) -> tuple[int]:
        self.on_device.append(function.split()[-1])
        return (self.no_room,)

    def load(self, source: str, capability: tuple[int, int]) -> SimpleNamespace:
        self.loaded.append((source, capability))
        return SimpleNamespace(get_kernel=lambda name: SimpleNamespace(name=name, handle=f"handle of {name}"))


def pretend(monkeypatch: pytest.MonkeyPatch, recorder: Recorder) -> None:
    monkeypatch.setattr(loaded, "cuda_core", lambda: recorder.core)
    monkeypatch.setattr(loaded, "load", recorder.load)
    monkeypatch.setattr(loaded, "_LOADED", {})
    monkeypatch.setattr(loaded, "import_module", lambda name: {"cuda.bindings.driver": recorder.driver}[name])


def test_everything_is_loaded_before_the_first_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(99 * 1024)
    pretend(monkeypatch, recorder)
    kernels = LoadedKernels(recorder.device)
    assert recorder.current
    assert recorder.loaded == [(source, (8, 7)) for source in SOURCES]
    # A kernel that may take more than 48 KB of shared memory must be allowed to, on this very device.
    assert recorder.asked == [("most shared bytes", 99 * 1024, f"handle of {name}", 3) for name in SOURCES["refine"]]
    # Nor does any wait for its first launch, which may be inside a recording.
    assert recorder.on_device == [name for names in SOURCES.values() for name in names]
    kernels.launch("stream", plan_softmax(16, 1024, 150, planes=32))
    ((stream, config, kernel, *arguments),) = recorder.launched
    assert (stream, kernel.name) == ("stream", "softmax")
    assert config == {"grid": (128, 1, 1), "block": (256, 1, 1), "shmem_size": 0}
    assert arguments == [16, 1024, 150, 32]


def test_machine_code_is_loaded_once_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """cuda.core never unloads it: every Segmenter would leave some more on the GPU."""
    recorder = Recorder(48 * 1024)
    pretend(monkeypatch, recorder)
    for _ in range(3):
        LoadedKernels(recorder.device)
    assert [source for source, _ in recorder.loaded] == list(SOURCES)
    recorder.device.device_id = 4
    LoadedKernels(recorder.device)
    assert len(recorder.loaded) == 2 * len(SOURCES)


def test_a_device_with_48_kb_is_not_asked_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(48 * 1024)
    pretend(monkeypatch, recorder)
    assert LoadedKernels(recorder.device).shared_limit == 48 * 1024
    assert recorder.asked == []


def test_a_refused_attribute_is_a_device_error(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(64 * 1024, status=1)
    pretend(monkeypatch, recorder)
    with pytest.raises(DeviceError, match="refine_1 cannot have 65536 bytes of shared memory: 1"):
        LoadedKernels(recorder.device)


def test_machine_code_that_does_not_load_is_a_device_error(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(48 * 1024)
    recorder.no_room = 209
    pretend(monkeypatch, recorder)
    with pytest.raises(DeviceError, match="preprocess cannot be loaded: 209"):
        LoadedKernels(recorder.device)


def test_a_driver_that_cannot_be_told_loads_lazily(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(48 * 1024)
    del recorder.driver.cuFuncLoad
    pretend(monkeypatch, recorder)
    LoadedKernels(recorder.device)
    assert recorder.on_device == []
