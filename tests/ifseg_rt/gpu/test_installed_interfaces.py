"""Every call of a library that only works with a GPU, against what the installed library offers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from ctypes.util import find_library
from types import SimpleNamespace
from typing import Any

import pytest

from ifseg_rt.errors import DeviceError
from ifseg_rt.gpu.device import Gpu, timing_options


def takes(function: Callable[..., Any], *positional: object, **named: object) -> None:
    """Fail unless ``function`` can be called like that."""
    inspect.signature(function).bind(*positional, **named)


def test_cuda_core() -> None:
    core = pytest.importorskip("cuda.core", reason="cuda-core is not installed")
    thing: Any = object()
    takes(core.Device, 0)
    takes(core.Device.set_current, thing)
    takes(core.Device.create_stream, thing)
    takes(core.Device.allocate, thing, 5, stream=thing)
    takes(core.Device.create_event, thing, core.EventOptions(timing_enabled=True))
    takes(core.Stream.record, thing, thing)
    takes(core.Stream.wait, thing, thing)
    takes(core.Stream.sync, thing)
    takes(core.Stream.from_handle, 1)
    takes(core.Buffer.from_handle, 1, 2, owner=thing)
    for owner, names in (
        (core.Device, ("name", "context", "properties", "compute_capability", "device_id")),
        (core.Context, ("handle",)),
        (core.Stream, ("handle",)),
        (core.Buffer, ("handle", "size")),
        (core.Event, ("__sub__",)),
    ):
        assert not [name for name in names if not hasattr(owner, name)]


def test_cuda_core_views() -> None:
    utils = pytest.importorskip("cuda.core.utils", reason="cuda-core is not installed")
    view, thing = utils.StridedMemoryView, object()
    takes(view.from_any_interface, thing, stream_ptr=7)
    takes(view.from_buffer, thing, (2, 3), dtype=thing)
    takes(view.__dlpack__, thing, max_version=(1, 0), dl_device=None, copy=None)
    assert not [name for name in ("ptr", "shape", "strides", "dtype", "device_id") if not hasattr(view, name)]


def test_the_driver() -> None:
    driver = pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")
    for name, arguments in {
        "cuInit": (0,),
        "cuCtxGetCurrent": (),
        "cuCtxSetCurrent": (1,),
        "cuCtxPushCurrent": (1,),
        "cuCtxPopCurrent": (),
        "cuMemHostAlloc": (1, 1),
        "cuMemFreeHost": (1,),
        "cuMemcpyAsync": (1, 2, 3, 4),
        "cuKernelGetFunction": (1,),
        "cuFuncLoad": (1,),
        "cuKernelSetAttribute": (1, 2, 3, 4),
        "cuStreamBeginCapture": (1, 2),
        "cuStreamEndCapture": (1,),
        "cuGraphInstantiate": (1, 0),
        "cuGraphGetNodes": (1, 0),
        "cuGraphNodeGetType": (1,),
        "cuGraphChildGraphNodeGetGraph": (1,),
        "cuGraphLaunch": (1, 2),
        "cuGraphDestroy": (1,),
        "cuGraphExecDestroy": (1,),
        "cuGetErrorName": (1,),
        "cuGetErrorString": (1,),
    }.items():
        takes(getattr(driver, name), *arguments)
    assert int(driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL) == 1
    assert driver.CU_MEMHOSTALLOC_PORTABLE == 1
    assert {"CU_GRAPH_NODE_TYPE_HOST", "CU_GRAPH_NODE_TYPE_GRAPH"} <= set(driver.CUgraphNodeType.__members__)
    # Errors come back as a status and are told by name; these two calls need no driver.
    status = driver.CUresult.CUDA_ERROR_OUT_OF_MEMORY
    assert int(status) != 0
    assert int(driver.CUresult.CUDA_SUCCESS) == 0


@pytest.mark.parametrize("name", ["tensorrt_rtx", "tensorrt"])
def test_tensorrt(name: str) -> None:
    trt = pytest.importorskip(name, reason=f"{name} is not installed")
    for owner, names in (
        (trt.ICudaEngine, ("num_io_tensors", "get_tensor_name", "get_tensor_mode", "get_tensor_dtype")),
        (trt.ICudaEngine, ("get_tensor_shape", "create_execution_context")),
        (trt.IExecutionContext, ("set_tensor_address", "set_input_shape", "infer_shapes", "execute_async_v3")),
    ):
        assert not [attribute for attribute in names if not hasattr(owner, attribute)]
    # pybind11 writes signatures into the documentation.
    assert "stream_handle: " in trt.IExecutionContext.execute_async_v3.__doc__
    assert "-> bool" in trt.IExecutionContext.execute_async_v3.__doc__
    assert "(self: " in trt.IExecutionContext.set_tensor_address.__doc__
    assert "name: str, memory: " in trt.IExecutionContext.set_tensor_address.__doc__
    assert "name: str, shape: tuple" in trt.IExecutionContext.set_input_shape.__doc__
    modes = {trt.TensorIOMode.INPUT.name, trt.TensorIOMode.OUTPUT.name}
    assert modes == {"INPUT", "OUTPUT"}
    assert {trt.float32.name, trt.int32.name, trt.float16.name} == {"FLOAT", "INT32", "HALF"}


def test_what_only_tensorrt_rtx_has() -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed")
    assert {"DISABLED", "WHOLE_GRAPH_CAPTURE"} <= set(trt.CudaGraphStrategy.__members__)
    assert "EAGER" in trt.DynamicShapesKernelSpecializationStrategy.__members__
    config = trt.IRuntimeConfig
    names = ("cuda_graph_strategy", "dynamic_shapes_kernel_specialization_strategy", "create_runtime_cache")
    assert not [name for name in names if not hasattr(config, name)]
    assert "IRuntimeConfig" in trt.ICudaEngine.create_runtime_config.__doc__
    assert "runtime_config: " in trt.ICudaEngine.create_execution_context.__doc__
    assert "cache: " in config.set_runtime_cache.__doc__
    assert "-> bool" in config.set_runtime_cache.__doc__
    assert "blob: " in trt.IRuntimeCache.deserialize.__doc__
    assert "IHostMemory" in trt.IRuntimeCache.serialize.__doc__
    assert hasattr(trt.IHostMemory, "__buffer__") or hasattr(trt.IHostMemory, "nbytes")
    assert "-> bool" in trt.IExecutionContext.is_stream_capturable.__doc__


def test_onnx_runtime() -> None:
    runtime = pytest.importorskip("onnxruntime")
    thing: Any = object()
    takes(runtime.IOBinding.bind_input, thing, "image", "cuda", 0, thing, (1, 2), 5)
    takes(runtime.IOBinding.bind_output, thing, "logits", "cuda", 0, thing, (1, 2), 5)
    takes(runtime.InferenceSession.run_with_iobinding, thing, thing, thing)
    if hasattr(runtime, "OrtDevice"):
        assert runtime.OrtDevice.make("cuda", 1).device_id() == 1, "what memory on another GPU is bound with"
    options = runtime.RunOptions()
    options.add_run_config_entry("disable_synchronize_execution_providers", "1")
    assert hasattr(options, "only_execute_path_to_fetches")


def test_onnx_runtime_says_where_nodes_run(open_gpu_runner: Any) -> None:
    """With the option that our sessions are opened with."""
    path, _, network = open_gpu_runner()
    if not hasattr(type(network.session), "get_provider_graph_assignment_info"):
        pytest.skip("this ONNX Runtime does not tell where nodes run")
    from ifseg_rt.backends.onnx_runtime.gpu_network import OnnxOnGpu

    assert "does not say where its nodes run" in str(OnnxOnGpu.why_not_recordable(network))
    assert sum(len(part.get_nodes()) for part in network.session.get_provider_graph_assignment_info()) > 5
    path.close()


def test_marks_with_a_cuda_core_before_1_0() -> None:
    """Whose events were told to keep time by another word."""

    class Options:
        def __init__(self, *, enable_timing: bool) -> None:
            self.enable_timing = enable_timing

    assert timing_options(SimpleNamespace(EventOptions=Options)).enable_timing is True


def test_a_missing_driver_is_told_with_a_remedy() -> None:
    pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")
    if find_library("cuda") is not None:
        pytest.skip("this machine has the driver")
    with pytest.raises(DeviceError, match="opening the GPU failed") as caught:
        Gpu()
    assert caught.value.hint == "install the NVIDIA driver; the .onnx model runs on the CPU"
