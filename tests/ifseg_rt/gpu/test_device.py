"""What the stand-in for the driver does not show of ``Gpu``: graphs that call back, and the default stream's name."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from ifseg_rt.gpu import device
from ifseg_rt.gpu.device import Gpu

STREAM, LEGACY_DEFAULT = 640, 1
KERNEL, CALLBACK, INNER = ("kernel", 0), ("host", 0), ("graph", 2)


class Driver:
    """Everything succeeds; a node of a graph is its kind and the graph inside it."""

    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL=1)
    CUgraphNodeType = SimpleNamespace(CU_GRAPH_NODE_TYPE_HOST="host", CU_GRAPH_NODE_TYPE_GRAPH="graph")

    def __init__(self) -> None:
        self.nodes: dict[int, list[tuple[str, int]]] = {}

    def __getattr__(self, name: str) -> Callable[..., tuple[int, int]]:
        if not name.startswith("cu"):
            raise AttributeError(name)
        return lambda *arguments: (0, 1)

    def cuGraphGetNodes(self, graph: int, count: int) -> tuple[int, list[Any], int]:
        return 0, self.nodes[graph][:count], len(self.nodes[graph])

    def cuGraphNodeGetType(self, node: tuple[str, int]) -> tuple[int, str]:
        return 0, node[0]

    def cuGraphChildGraphNodeGetGraph(self, node: tuple[str, int]) -> tuple[int, int]:
        return 0, node[1]


@pytest.fixture
def driver() -> Driver:
    return Driver()


@pytest.fixture
def waits() -> list[tuple[int, int]]:
    """Streams that wait, each with the one it waits for."""
    return []


@pytest.fixture
def gpu(driver: Driver, waits: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch) -> Gpu:
    def stream(address: int) -> SimpleNamespace:
        return SimpleNamespace(handle=address, wait=lambda other: waits.append((address, other.handle)))

    found = SimpleNamespace(
        name="pretended",
        context=SimpleNamespace(handle=77),
        set_current=lambda: None,
        create_stream=lambda: stream(STREAM),
    )
    core = SimpleNamespace(Device=lambda index: found, Stream=SimpleNamespace(from_handle=stream))
    monkeypatch.setattr(device, "cuda_core", lambda: core)
    monkeypatch.setattr(device, "import_module", lambda name: driver)
    monkeypatch.setattr(device, "LoadedKernels", lambda found: SimpleNamespace(shared_limit=0))
    return Gpu()


@pytest.mark.parametrize("graphs", [{1: [KERNEL, CALLBACK]}, {1: [KERNEL, INNER], 2: [KERNEL, CALLBACK]}])
def test_what_calls_back_is_not_recorded(gpu: Gpu, driver: Driver, graphs: dict[int, list[tuple[str, int]]]) -> None:
    driver.nodes = graphs
    with pytest.raises(RuntimeError, match="calls back into the program"):
        gpu.record(lambda: None)
    driver.nodes = {1: [KERNEL, INNER, ("memset", 0)], 2: [KERNEL]}
    gpu.record(lambda: None).launch()


def test_address_0_is_the_legacy_default_stream(gpu: Gpu, waits: list[tuple[int, int]]) -> None:
    for address in (0, 9):
        gpu.follow(address)
        gpu.lead(address)
    assert waits == [(STREAM, LEGACY_DEFAULT), (LEGACY_DEFAULT, STREAM), (STREAM, 9), (9, STREAM)]
