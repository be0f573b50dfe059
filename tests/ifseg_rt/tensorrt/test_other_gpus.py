"""GPUs other than the first: what the driver is asked about them, and how one is made current."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import pytest

from ifseg_rt.errors import DeviceError
from ifseg_rt.machine import GpuFacts, Machine, describe_machine
from ifseg_rt.tensorrt.building.current_gpu import current_gpu


class Driver:
    """The driver's library, for two GPUs."""

    names = (b"RTX 3060", b"T4")
    capabilities = ((8, 6), (7, 5))

    def __init__(self, **fails: int) -> None:
        self.calls: list[Any] = []
        self.fails = fails

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cu"):
            raise AttributeError(name)

        def call(*arguments: Any) -> int:
            values = [
                value.value if isinstance(value, (ctypes.c_int, ctypes.c_void_p)) else value for value in arguments
            ]
            self.calls.append((name, *(value for value in values if isinstance(value, int))))
            return self.fails.get(name) or int(self.answer(name, arguments) or 0)

        return call

    def answer(self, name: str, arguments: tuple[Any, ...]) -> int | None:
        def give(value: int) -> None:
            arguments[0]._obj.value = value

        if name == "cuDeviceGetCount":
            give(2)
        elif name == "cuDeviceGet":
            give(40 + arguments[1])  # handles are not numbers
        elif name == "cuDeviceGetName":
            arguments[0].value = self.names[arguments[2].value - 40]
        elif name == "cuDeviceGetAttribute":
            give(self.capabilities[arguments[2].value - 40][arguments[1] - 75])
        elif name == "cuDeviceTotalMem_v2":
            give(1 << 34)
        elif name == "cuDriverGetVersion":
            give(13000)
        elif name == "cuDevicePrimaryCtxRetain":
            give(0x7F0012345678)
        return None

    def load(self, name: str) -> Any:
        if "ml" in name:
            raise OSError(name)
        return self


def test_each_gpu_is_described() -> None:
    machines = [describe_machine(Driver().load, index) for index in range(3)]
    found = [machine.gpu for machine in machines]
    assert found == [
        GpuFacts("RTX 3060", "8.6", 1 << 34, "13.0", None, 0),
        GpuFacts("T4", "7.5", 1 << 34, "13.0", None, 1),
        None,
    ]
    assert [machine.gpus for machine in machines] == [2, 2, 2]
    assert machines[2].reason == "there is no GPU 2, CUDA counts 2 from 0"
    # Numbers beyond the driver's own type never reach it.
    assert describe_machine(Driver().load, 10**12).gpu is None
    assert describe_machine(Driver(cuInit=100).load, 1).gpus == 0


def on(index: int) -> Machine:
    return Machine("linux-x86_64", GpuFacts("T4", "7.5", 1 << 34, "13.0", None, index), None, 2)


def test_a_gpu_is_current_for_the_block() -> None:
    driver = Driver()
    with current_gpu(on(1), driver.load):
        driver.calls.append("inside")
    assert driver.calls == [
        ("cuDeviceGet", 1),
        ("cuDevicePrimaryCtxRetain", 41),
        ("cuCtxPushCurrent_v2", 0x7F0012345678),
        "inside",
        ("cuCtxPopCurrent_v2",),
        ("cuDevicePrimaryCtxRelease_v2", 41),
    ]


def test_it_is_given_back_after_an_error() -> None:
    driver = Driver()
    with pytest.raises(ZeroDivisionError), current_gpu(on(1), driver.load):
        _ = 1 / 0
    assert [name for name, *_ in driver.calls[-2:]] == ["cuCtxPopCurrent_v2", "cuDevicePrimaryCtxRelease_v2"]


@pytest.mark.parametrize("machine", [on(0), Machine("linux-x86_64", None, "no driver")])
def test_the_first_gpu_is_every_threads_already(machine: Machine) -> None:
    with current_gpu(machine, lambda name: pytest.fail("asked")):
        pass


def test_a_driver_that_refuses() -> None:
    for name, released in (("cuDevicePrimaryCtxRetain", False), ("cuCtxPushCurrent_v2", True)):
        driver = Driver(**{name: 2})
        refused = pytest.raises(DeviceError, match="choosing GPU 1 failed: the driver reports CUDA error 2")
        with refused, current_gpu(on(1), driver.load):
            pytest.fail("entered")
        assert any(call[0] == "cuDevicePrimaryCtxRelease_v2" for call in driver.calls) == released

    def missing(name: str) -> SimpleNamespace:
        raise OSError(f"{name}: cannot open shared object file")

    with pytest.raises(DeviceError, match="cannot open shared object file"), current_gpu(on(1), missing):
        pass
