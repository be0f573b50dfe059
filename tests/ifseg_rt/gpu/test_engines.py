"""Engines shared by segmenters, their contexts and networks: over a stand-in for TensorRT's engine and context.

TensorRT deserialises nothing without a GPU, so an engine that records its calls takes the place of the real one; the
calls are those that ``test_installed_interfaces.py`` finds in the installed bindings.
"""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ifseg_rt.artifact.sidecar import TensorSpec
from ifseg_rt.backends.tensorrt import shared_engines as engines
from ifseg_rt.backends.tensorrt.gpu_network import TensorRtOnGpu
from ifseg_rt.backends.tensorrt.shared_engines import SharedEngine, shared_engine
from ifseg_rt.cache import unseal
from ifseg_rt.errors import ArtifactError, DeviceError
from ifseg_rt.machine import GpuFacts, Machine
from ifseg_rt.tensorrt.logger import Messages

INPUTS = (TensorSpec("image", "float32", (1, 3, 64, 96)),)
OUTPUTS = (TensorSpec("logits", "float32", (1, 96, 4)), TensorSpec("neighbours", "int32", (1, 96, 5)))
ADDRESSES = {"image": 256, "logits": 512, "neighbours": 1024}
TYPES = {"float32": "FLOAT", "int32": "INT32"}
STREAM = 640


class Context:
    def __init__(self, engine: Engine, config: Any) -> None:
        self.engine, self.config = engine, config
        self.calls: list[tuple[Any, ...]] = []
        self.runs = self.recordable = True
        self.refused: str | None = None
        self.unknown: list[str] = []

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.calls.append(("shape", name, shape))
        return name != self.refused

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.calls.append(("address", name, address))
        return name != self.refused

    def infer_shapes(self) -> list[str]:
        self.calls.append(("infer",))
        return self.unknown

    def execute_async_v3(self, stream: int) -> bool:
        self.calls.append(("run", stream))
        if not self.runs:
            self.engine.messages.add("ERROR", "[a.cpp::run::12] CUDA error 700")
            self.engine.messages.add("ERROR", "an echo")
        return self.runs


class RtxContext(Context):
    def is_stream_capturable(self, stream: int) -> bool:
        return self.recordable and stream == STREAM


class Engine:
    def __init__(self, rtx: bool) -> None:
        self.rtx = rtx
        self.messages = Messages()
        self.contexts: list[Context] = []
        self.compiled = SimpleNamespace(content=b"", deserialize=lambda blob: True, serialize=lambda: b"code")
        self.specs: dict[str, tuple[str, TensorSpec]] = {spec.name: ("INPUT", spec) for spec in INPUTS}
        self.specs.update({spec.name: ("OUTPUT", spec) for spec in OUTPUTS})
        self.makes = self.recordable = True

    num_io_tensors = property(lambda self: len(self.specs))

    def get_tensor_name(self, index: int) -> str:
        return list(self.specs)[index]

    def get_tensor_mode(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(name=self.specs[name][0])

    def get_tensor_dtype(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(name=TYPES[self.specs[name][1].dtype])

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.specs[name][1].shape

    def create_runtime_config(self) -> SimpleNamespace:
        config = SimpleNamespace(create_runtime_cache=lambda: self.compiled, cache=None)
        config.set_runtime_cache = lambda cache: setattr(config, "cache", cache) or True
        return config

    def create_execution_context(self, config: Any = None) -> Context | None:
        assert (config is not None) == self.rtx
        if not self.makes:
            self.messages.add("ERROR", "out of memory")
            return None
        context = (RtxContext if self.rtx else Context)(self, config)
        context.recordable = self.recordable or len(self.contexts) > 0
        self.contexts.append(context)
        return context


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[Any, Engine]]:
    """A checked engine file and what deserialising it gives."""
    monkeypatch.setenv("IFSEG_RT_CACHE", str(tmp_path))
    found: dict[str, Engine] = {}
    monkeypatch.setattr(
        engines,
        "load_engine",
        lambda checked, **wishes: SimpleNamespace(
            engine=found[checked.artifact.engine.sha256], messages=found[checked.artifact.engine.sha256].messages
        ),
    )

    def make(sha256: str = "ab" * 32, *, rtx: bool = True) -> tuple[Any, Engine]:
        engine = found[sha256] = Engine(rtx)
        module = SimpleNamespace()
        if rtx:
            module.CudaGraphStrategy = SimpleNamespace(DISABLED="off", WHOLE_GRAPH_CAPTURE="whole")
            module.DynamicShapesKernelSpecializationStrategy = SimpleNamespace(EAGER="eager")
        name = "tensorrt_rtx" if rtx else "tensorrt"
        checked = SimpleNamespace(
            path=tmp_path / "model.engine",
            machine=Machine("linux-x86_64", GpuFacts("RTX", "8.6", 1 << 30, "13.0")),
            tensorrt=SimpleNamespace(name=name, title="TensorRT 1", version="1", module=module),
            artifact=SimpleNamespace(engine=SimpleNamespace(sha256=sha256), inputs=INPUTS, outputs=OUTPUTS),
        )
        return checked, engine

    return make


def test_one_engine_serves_all_segmenters_of_its_file(load: Any) -> None:
    checked, _ = load()
    other, _ = load("cd" * 32)
    found: list[SharedEngine] = []
    threads = [threading.Thread(target=lambda: found.append(shared_engine(checked, 0))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert (len(found), len(set(map(id, found)))) == (8, 1)
    assert shared_engine(other, 0) is not found[0]
    assert shared_engine(checked, 1) is not found[0]
    kept = weakref.ref(found[0])
    found.clear()
    gc.collect()
    assert kept() is None, "it goes with its last segmenter"


def test_an_engine_that_is_not_its_sidecars(load: Any) -> None:
    checked, engine = load()
    engine.specs["logits"] = ("OUTPUT", TensorSpec("logits", "float32", (1, 96, 5)))
    with pytest.raises(ArtifactError, match=r"does not fit its sidecar: output 'logits' .*, found output float32") as e:
        shared_engine(checked, 0)
    assert "rebuild" in str(e.value.hint)


def test_contexts_of_tensorrt_rtx(load: Any, tmp_path: Path) -> None:
    checked, engine = load()
    shared = SharedEngine(checked)
    first, second = shared.make_context(), shared.make_context(own_graph=True)
    assert [context.config.cuda_graph_strategy for context in (first, second)] == ["off", "whole"]
    assert first.config.dynamic_shapes_kernel_specialization_strategy == "eager"
    assert first.config.cache is second.config.cache is engine.compiled, "what was compiled is shared"
    (kept,) = tmp_path.rglob("*.bin")
    assert unseal(kept.read_bytes()) == b"code"
    engine.compiled.serialize = lambda: b"more code"
    shared.keep_compiled()
    assert unseal(kept.read_bytes()) == b"more code"


def test_full_tensorrt_has_no_configuration(load: Any, tmp_path: Path) -> None:
    checked, engine = load(rtx=False)
    network = TensorRtOnGpu(SharedEngine(checked), STREAM)
    network.bind(ADDRESSES)
    assert network.why_not_recordable() is None
    network.close()
    assert not list(tmp_path.rglob("*.bin"))
    assert len(engine.contexts) == 1


@pytest.mark.parametrize("rtx", [True, False])
def test_no_context_is_never_used(load: Any, rtx: bool) -> None:
    checked, engine = load(rtx=rtx)
    shared = SharedEngine(checked)
    shared.make_context()
    engine.messages.add("ERROR", "an old error")
    engine.makes = False
    with pytest.raises(DeviceError, match=r"cannot prepare model\.engine for running: out of memory$") as caught:
        TensorRtOnGpu(shared, STREAM)
    assert "nvidia-smi" in str(caught.value.hint)

    def null(*arguments: Any) -> None:
        raise TypeError("a null pointer")

    engine.create_execution_context = null
    with pytest.raises(DeviceError, match="it gave no reason"):
        shared.make_context()


def test_tensors_are_bound_by_name(load: Any) -> None:
    checked, engine = load()
    network = TensorRtOnGpu(SharedEngine(checked), STREAM)
    network.bind(ADDRESSES)
    (context,) = engine.contexts
    assert context.calls == [*(("address", name, address) for name, address in ADDRESSES.items()), ("infer",)]
    context.calls.clear()
    network.enqueue()
    assert context.calls == [("run", STREAM)]
    assert (network.device, network.fallback_reason) == ("tensorrt_rtx", None)


def test_shapes_are_only_set_where_they_are_open(load: Any) -> None:
    checked, engine = load()
    engine.specs["image"] = ("INPUT", TensorSpec("image", "float32", (-1, 3, 64, 96)))
    network = TensorRtOnGpu(SharedEngine(checked), STREAM)
    network.bind(ADDRESSES)
    assert engine.contexts[0].calls[0] == ("shape", "image", (1, 3, 64, 96))
    engine.contexts[0].refused = "image"
    with pytest.raises(DeviceError, match=r"was not built for 'image' of shape \[1, 3, 64, 96\]: it gave no reason"):
        network.bind(ADDRESSES)


def test_what_tensorrt_refuses_is_a_device_error(load: Any) -> None:
    checked, engine = load()
    network = TensorRtOnGpu(SharedEngine(checked), STREAM)
    (context,) = engine.contexts
    with pytest.raises(DeviceError, match="a tensor 'neighbours' that no memory is planned for"):
        network.bind({"image": 1, "logits": 2})
    context.refused = "logits"
    with pytest.raises(DeviceError, match="refuses the memory of 'logits'"):
        network.bind(ADDRESSES)
    context.refused, context.unknown = None, ["logits"]
    with pytest.raises(DeviceError, match=r"does not know the shapes of logits in model\.engine"):
        network.bind(ADDRESSES)
    context.runs = False
    with pytest.raises(DeviceError, match=r"failed to run model\.engine: CUDA error 700$"):
        network.enqueue()


def test_what_cannot_be_recorded_gets_a_graph_of_its_own(load: Any) -> None:
    checked, engine = load()
    engine.recordable = False
    network = TensorRtOnGpu(SharedEngine(checked), STREAM)
    network.bind(ADDRESSES)
    assert "uses a graph of the engine alone" in str(network.why_not_recordable())
    first, second = engine.contexts
    assert second.config.cuda_graph_strategy == "whole"
    assert second.calls == first.calls, "bound like the first one"
    network.enqueue()
    assert second.calls == [*first.calls, ("run", STREAM)]
    plain = TensorRtOnGpu(SharedEngine(checked), STREAM, cuda_graph=False)
    engine.contexts[-1].recordable = False
    assert str(plain.why_not_recordable()).endswith("model.engine cannot be recorded")
    assert len(engine.contexts) == 3


def test_a_second_context_that_cannot_be_made_leaves_the_first(load: Any) -> None:
    checked, engine = load()
    engine.recordable = False
    network = TensorRtOnGpu(SharedEngine(checked), STREAM)
    network.bind(ADDRESSES)
    engine.makes = False
    with pytest.raises(DeviceError, match="out of memory"):
        network.why_not_recordable()
    network.enqueue()
    assert engine.contexts[0].calls[-1] == ("run", STREAM)


def test_closing_writes_what_was_compiled_and_lets_go(load: Any, tmp_path: Path) -> None:
    checked, engine = load()
    network = TensorRtOnGpu(shared_engine(checked, 0), STREAM)
    kept = weakref.ref(shared_engine(checked, 0))
    network.bind(ADDRESSES)
    engine.compiled.serialize = lambda: b"compiled while running"
    network.close()
    network.close()
    assert unseal(next(tmp_path.rglob("*.bin")).read_bytes()) == b"compiled while running"
    with pytest.raises(DeviceError, match="was closed"):
        network.enqueue()
    gc.collect()
    assert kept() is None


def test_contexts_go_before_their_engine(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when nobody closes anything."""
    gc.collect()  # those of other tests
    gone: list[str] = []
    monkeypatch.setattr(Context, "__del__", lambda self: gone.append("context"), raising=False)
    monkeypatch.setattr(SharedEngine, "__del__", lambda self: gone.append("engine"), raising=False)
    checked, engine = load()
    network = TensorRtOnGpu(SharedEngine(checked), STREAM)
    engine.contexts.clear()
    del network
    gc.collect()
    assert gone == ["context", "engine"]
