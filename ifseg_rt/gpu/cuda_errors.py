"""What CUDA says, as errors with a remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ifseg_rt.errors import DeviceError, IfsegError

_REMEDIES = (
    ("OUT_OF_MEMORY", "free GPU memory (nvidia-smi shows who uses it), or take a smaller model or frame"),
    ("INSUFFICIENT_DRIVER", "install a newer NVIDIA driver"),
    ("SYSTEM_DRIVER_MISMATCH", "restart: the driver was updated while its old part is still running"),
    ("NO_DEVICE", "check the driver (nvidia-smi); the .onnx model runs on the CPU"),
    ("ILLEGAL_ADDRESS", "open a new process: the GPU's state is lost; frames must stay valid until the call returns"),
    ("LAUNCH_FAILED", "open a new process: the GPU's state is lost"),
    ("LAUNCH_TIMEOUT", "the GPU also drives a display that stops long programs; use another GPU or a smaller model"),
    ("NVIDIA driver library", "install the NVIDIA driver; the .onnx model runs on the CPU"),  # cuda.core's words
    ("libcuda", "install the NVIDIA driver; the .onnx model runs on the CPU"),  # those of cuda-bindings 12
    ("NO_BINARY_FOR_GPU", "remove the kernel cache, or upgrade cuda-core and NVRTC for this GPU"),
)


def explain(doing: str, error: BaseException) -> DeviceError:
    """One line for an error of CUDA's libraries, with a remedy where one is known.

    Args:
        doing: what was tried, to go before "failed".
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[0] if lines else type(error).__name__
    hint = next((remedy for name, remedy in _REMEDIES if name in str(error)), None)
    if isinstance(error, MemoryError):
        hint = "free memory of the computer: frames are staged in page-locked memory"
    return DeviceError(f"{doing} failed: {reason}", hint=hint)


@contextmanager
def device_errors(doing: str) -> Iterator[None]:
    """Turn whatever CUDA's libraries raise in the block into a :class:`DeviceError`; our own errors pass."""
    try:
        yield
    except IfsegError:
        raise
    except Exception as error:  # cuda.core, its loaders and the run times share no base class
        raise explain(doing, error) from error
