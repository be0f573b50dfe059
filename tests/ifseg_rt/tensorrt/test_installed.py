"""Which TensorRT is taken, what is said when none is there, and what the driver says about this machine."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ifseg_rt.errors import DeviceError, UsageError
from ifseg_rt.machine import Machine, describe_machine
from ifseg_rt.tensorrt.installed import TensorRt, find_tensorrt, release


def loader(**modules: Any) -> Callable[[str], Any]:
    def load(name: str) -> Any:
        found = modules.get(name)
        if isinstance(found, str):
            return SimpleNamespace(__version__=found, Builder=object, IBuilderConfig=object)
        if found is None:
            raise ModuleNotFoundError(f"No module named {name!r}")
        raise found

    return load


def test_auto(gpu_machine: Machine, bare_machine: Machine) -> None:
    both = loader(tensorrt="10.3.0", tensorrt_rtx="1.7.1.116")
    assert find_tensorrt(machine=gpu_machine, load=both).name == "tensorrt"
    assert find_tensorrt(machine=bare_machine, load=both).name == "tensorrt_rtx"
    assert find_tensorrt(machine=gpu_machine, load=loader(tensorrt_rtx="1.7.1")).title == "TensorRT-RTX 1.7.1"
    assert find_tensorrt("tensorrt", machine=bare_machine, load=both).title == "TensorRT 10.3.0"
    with pytest.raises(UsageError, match="must be one of auto, tensorrt, tensorrt_rtx, found 'trt'"):
        find_tensorrt("trt")


def test_none(gpu_machine: Machine, bare_machine: Machine) -> None:
    with pytest.raises(DeviceError, match=r"tensorrt: No module named 'tensorrt'; tensorrt_rtx: No module") as caught:
        find_tensorrt(machine=gpu_machine, load=loader())
    assert "pip install tensorrt-rtx-cu13" in str(caught.value.hint)
    assert "JetPack" in str(caught.value.hint)
    with pytest.raises(DeviceError, match=r"TensorRT 10\.3\.0 needs an NVIDIA GPU.*driver is not installed"):
        find_tensorrt(machine=bare_machine, load=loader(tensorrt="10.3.0"))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (OSError("libnvinfer.so.10: cannot open shared object file\nmore"), r"libnvinfer\.so\.10: cannot open[^\n]*$"),
        ("8.6.1", r"version 8\.6\.1 is too old, expected 10\.3 or later"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_unusable(gpu_machine: Machine, module: object, message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        find_tensorrt("tensorrt", machine=gpu_machine, load=loader(tensorrt=module))


def test_a_folder_of_that_name_is_no_library(gpu_machine: Machine) -> None:
    with pytest.raises(DeviceError, match="not usable here"):
        find_tensorrt("tensorrt", machine=gpu_machine, load=lambda name: SimpleNamespace(__path__=["tensorrt"]))


def test_differences_are_detected(rtx: TensorRt, full: TensorRt) -> None:
    assert rtx.targets[:3] == ("7.5", "8.0", "8.6")
    assert rtx.builds_without_gpu and not rtx.keeps_timings and not rtx.has_version_compatibility
    assert rtx.hardware_levels == ()
    assert full.targets == ()
    assert not full.builds_without_gpu and full.keeps_timings and full.has_version_compatibility
    assert full.hardware_levels == ("ampere_plus", "same_compute_capability")


def test_releases() -> None:
    assert release("10.3.0.post1") == (10, 3, 0)
    assert release("1.7.1.116") == (1, 7, 1, 116)
    assert release("unknown") == ()


def set_value(reference: Any, value: int) -> int:
    reference._obj.value = value
    return 0


def fake_driver(**changes: Any) -> SimpleNamespace:
    def name(buffer: Any, size: int, device: Any) -> int:
        buffer.value = b"Orin (nvgpu)"
        return 0

    functions = {
        "cuInit": lambda flags: 0,
        "cuDeviceGetCount": lambda count: set_value(count, 1),
        "cuDeviceGet": lambda device, index: set_value(device, 0),
        "cuDeviceGetName": name,
        "cuDeviceGetAttribute": lambda out, what, device: set_value(out, {75: 8, 76: 7}[what]),
        "cuDeviceTotalMem_v2": lambda out, device: set_value(out, 8 << 30),
        "cuDriverGetVersion": lambda out: set_value(out, 12060),
    }
    return SimpleNamespace(**{**functions, **changes})


def fake_management(buffer: Any, size: int) -> int:
    buffer.value = b"540.4.0"
    return 0


def load_driver(driver: Any, management: Any = None) -> Callable[[str], Any]:
    def load(name: str) -> Any:
        found = management if "ml" in name else driver
        if found is None:
            raise OSError(f"{name}: cannot open shared object file")
        return found

    return load


def test_a_gpu() -> None:
    management = SimpleNamespace(
        nvmlInit_v2=lambda: 0, nvmlSystemGetDriverVersion=fake_management, nvmlShutdown=lambda: 0
    )
    gpu = describe_machine(load_driver(fake_driver(), management)).gpu
    assert gpu is not None
    assert (gpu.name, gpu.compute_capability, gpu.memory) == ("Orin (nvgpu)", "8.7", 8 << 30)
    assert (gpu.cuda, gpu.driver) == ("12.6", "540.4.0")
    without = describe_machine(load_driver(fake_driver())).gpu
    assert without is not None and without.driver is None


def test_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "driver is not installed" in str(describe_machine(load_driver(None)).reason)
    assert "finds no GPU" in str(describe_machine(load_driver(fake_driver(cuInit=lambda flags: 100))).reason)
    broken = describe_machine(load_driver(fake_driver(cuInit=lambda flags: 803)))
    assert broken.gpu is None and "different versions" in str(broken.reason)
    none = fake_driver(cuDeviceGetCount=lambda count: set_value(count, 0))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert describe_machine(load_driver(none)).reason == "the driver finds no GPU (CUDA_VISIBLE_DEVICES is '-1')"
    assert "CUDA error 7" in str(describe_machine(load_driver(fake_driver(cuInit=lambda flags: 7))).reason)


def test_this_machine_is_described() -> None:
    machine = describe_machine(ctypes.CDLL)
    assert "-" in machine.platform
    assert (machine.gpu is None) == (machine.reason is not None)


def test_nothing_heavy_is_imported(root: Path) -> None:
    program = (
        "import sys; import ifseg_rt.tensorrt.installed, ifseg_rt.tensorrt.sidecar; "
        "import ifseg_rt.tensorrt.building.rebuild, "
        "ifseg_rt.tensorrt.loading; heavy = {'tensorrt', 'tensorrt_rtx', 'torch', 'onnx', 'onnxruntime', 'numpy', "
        "'cv2', 'rich', 'cuda'} & set(sys.modules); sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=root, check=True)
