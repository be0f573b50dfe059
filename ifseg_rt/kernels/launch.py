"""The kernels as methods that enqueue on a stream: nothing here allocates device memory or waits."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from ifseg_rt.errors import DeviceError
from ifseg_rt.kernels.launches import (
    DEFAULT_SHARED_LIMIT,
    Launch,
    OverlayTarget,
    plan_labels,
    plan_preprocess,
    plan_refine,
    plan_softmax,
)
from ifseg_rt.kernels.scores import plan_finite, plan_transpose

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["CudaLauncher", "Kernels", "Launcher", "OverlayTarget"]


# Machine code by GPU and source file, one for the whole process: cuda.core never unloads it (that crashed some programs
# at their end), so every further copy would stay in the GPU's memory for good.
_LOADED: dict[tuple[int, str], Any] = {}
_LOADING = threading.Lock()


class Launcher(Protocol):
    """Runs a planned launch; ``shared_limit`` is how many bytes of shared memory a block may have."""

    @property
    def shared_limit(self) -> int: ...

    def __call__(self, stream: Any, launch: Launch) -> None: ...  # noqa: ANN401 (cuda.core is untyped here)


class CudaLauncher:
    """Compiles and loads every kernel for one device, then launches them through cuda.core.

    All loading happens here, because loading a module is not allowed while a stream is being captured into a graph; and
    drivers load lazily, machine code reaches the GPU at a kernel's first launch, unless they are told otherwise.

    Args:
        device: a ``cuda.core.Device``; made current for the calling thread.

    Raises:
        DeviceError: cuda.core or NVRTC is missing, or a kernel does not compile or load for this device.
    """

    def __init__(self, device: Any) -> None:  # noqa: ANN401
        from ifseg_rt.kernels.compile import SOURCES, cuda_core, load

        self._core: ModuleType = cuda_core()
        self._device = device
        device.set_current()
        self._shared_limit = int(device.properties.max_shared_memory_per_block_optin)
        capability = device.compute_capability
        self._kernels: dict[str, Any] = {}
        with _LOADING:
            for source, names in SOURCES.items():
                key = int(device.device_id), source
                if key not in _LOADED:
                    _LOADED[key] = load(source, (capability.major, capability.minor))
                for name in names:
                    self._kernels[name] = _LOADED[key].get_kernel(name)
                    if name.startswith("refine"):
                        self._allow_shared_memory(name)
                    self._load_now(name)

    @property
    def shared_limit(self) -> int:
        """Bytes of shared memory a block of this device may have when it asks."""
        return self._shared_limit

    def __call__(self, stream: Any, launch: Launch) -> None:  # noqa: ANN401
        """Enqueue one launch on a ``cuda.core.Stream`` or a graph builder."""
        config = self._core.LaunchConfig(grid=launch.grid, block=launch.block, shmem_size=launch.shared)
        self._core.launch(stream, config, self._kernels[launch.kernel], *launch.arguments)

    def _allow_shared_memory(self, name: str) -> None:
        # cuda.core only reads this attribute; a block needs it set to get more than 48 KB of dynamic shared memory.
        if self._shared_limit <= DEFAULT_SHARED_LIMIT:
            return
        driver = import_module("cuda.bindings.driver")
        attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        (status,) = driver.cuKernelSetAttribute(
            attribute, self._shared_limit, self._kernels[name].handle, self._device.device_id
        )
        if int(status) != 0:
            raise DeviceError(f"kernel {name} cannot have {self._shared_limit} bytes of shared memory: {status!s}")

    def _load_now(self, name: str) -> None:
        driver = import_module("cuda.bindings.driver")
        status, function = driver.cuKernelGetFunction(self._kernels[name].handle)
        if int(status) == 0:
            try:
                (status,) = driver.cuFuncLoad(function)
            except (AttributeError, RuntimeError):  # bindings or driver before CUDA 12.4
                return
        if int(status) != 0:
            raise DeviceError(f"kernel {name} cannot be loaded: {status!s}")


class Kernels:
    """Pre-processing, softmax, refinement and labels on a device.

    Every pointer is a device address as an int, aligned for its type; arrays are contiguous unless a pitch is given.
    Methods only enqueue: they neither allocate nor synchronise, so they can be captured into a CUDA graph. One object
    may be used from several threads, each with its own stream.

    Args:
        device: a ``cuda.core.Device``.
        launcher: what runs the launches; by default :class:`CudaLauncher` for ``device``.

    Raises:
        DeviceError: cuda.core or NVRTC is missing, or a kernel does not compile or load for this device.
    """

    def __init__(self, device: Any, launcher: Launcher | None = None) -> None:  # noqa: ANN401
        self._launcher: Launcher = CudaLauncher(device) if launcher is None else launcher

    def preprocess(
        self,
        stream: Any,  # noqa: ANN401
        frame: int,
        height: int,
        width: int,
        pitch_bytes: int,
        *,
        swap: bool,
        out: int,
        out_height: int,
        out_width: int,
        mean: Sequence[float],
        std: Sequence[float],
        half: bool,
    ) -> None:
        """Resize (OpenCV's ``INTER_LINEAR`` on uint8, bit for bit) and normalise one frame: spec 4.1.

        Args:
            stream: a ``cuda.core.Stream`` or graph builder.
            frame: height x width x 3 uint8, rows ``pitch_bytes`` apart.
            height: rows of the frame.
            width: columns of the frame.
            pitch_bytes: bytes from one row to the next, at least 3 * width.
            swap: whether the frame's channel order is the reverse of the network's.
            out: 3 x out_height x out_width, float32, or float16 with ``half``.
            out_height: rows of the network's input.
            out_width: columns of the network's input.
            mean: three, in the network's channel order, for values in 0..1.
            std: three, likewise.
            half: whether ``out`` is float16.
        """
        plan = plan_preprocess(
            frame,
            height,
            width,
            pitch_bytes,
            swap=swap,
            out=out,
            out_height=out_height,
            out_width=out_width,
            mean=mean,
            std=std,
            half=half,
        )
        self._launcher(stream, plan)

    def softmax(self, stream: Any, logits: int, n: int, classes: int, *, planes: int) -> None:  # noqa: ANN401
        """Probabilities of ``n`` patches: n x classes float32 at ``logits`` to classes x n float32 at ``planes``."""
        self._launcher(stream, plan_softmax(logits, n, classes, planes=planes))

    def finite(self, stream: Any, values: int, count: int, *, flags: int, blocks: int) -> None:  # noqa: ANN401
        """Look for values that are not finite among ``count`` float32.

        Args:
            stream: a ``cuda.core.Stream`` or graph builder.
            values: count float32.
            count: at least 1.
            flags: ``blocks`` int32, all written: 1 where a block of threads met such a value, else 0.
            blocks: at least 1.
        """
        self._launcher(stream, plan_finite(values, count, flags=flags, blocks=blocks))

    def transpose(self, stream: Any, rows: int, n: int, classes: int, *, planes: int) -> None:  # noqa: ANN401
        """Scores of ``n`` patches as they are: n x classes float32 at ``rows`` to classes x n at ``planes``."""
        self._launcher(stream, plan_transpose(rows, n, classes, planes=planes))

    def refine(
        self,
        stream: Any,  # noqa: ANN401
        planes: int,
        neighbours: int,
        n: int,
        classes: int,
        stride_k: int,
        k: int,
        rounds: int,
        *,
        out: int,
    ) -> None:
        """Average every patch with its ``k`` nearest, ``rounds`` times, in one launch: spec 9.

        Bit for bit :func:`ifseg_rt.host.refinement.refine`.

        Args:
            stream: a ``cuda.core.Stream`` or graph builder.
            planes: classes x n float32.
            neighbours: n x stride_k int32, most similar first.
            n: patches, at most 16384 (less where shared memory is small: n floats must fit).
            classes: planes.
            stride_k: neighbours stored per patch.
            k: how many of them take part, 1 to stride_k.
            rounds: at least 0.
            out: classes x n float32; may be ``planes``.
        """
        limit = self._launcher.shared_limit
        plan = plan_refine(planes, neighbours, n, classes, stride_k, k, rounds, out=out, shared_limit=limit)
        self._launcher(stream, plan)

    def labels(
        self,
        stream: Any,  # noqa: ANN401
        planes: int,
        classes: int,
        grid_h: int,
        grid_w: int,
        *,
        labels: int,
        height: int,
        width: int,
        wide: bool,
        confidence: int = 0,
        values: int = 0,
        overlay: OverlayTarget | None = None,
    ) -> None:
        """The first best class of every pixel after half-pixel bilinear up-sampling; C x H x W is never formed.

        Args:
            stream: a ``cuda.core.Stream`` or graph builder.
            planes: classes x grid_h x grid_w float32.
            classes: planes, at most 256, or 65536 with ``wide``.
            grid_h: rows of the patch grid.
            grid_w: columns of the patch grid.
            labels: height x width uint8, or uint16 with ``wide``.
            height: rows of the frame.
            width: columns of the frame.
            wide: whether ``labels`` is uint16.
            confidence: height x width float32, filled with the winner's value; 0 = not wanted.
            values: classes x grid_h x grid_w float32 that ``confidence`` is up-sampled from; 0 = ``planes``.
            overlay: the picture to paint, or ``None``.
        """
        plan = plan_labels(
            planes,
            classes,
            grid_h,
            grid_w,
            labels=labels,
            height=height,
            width=width,
            wide=wide,
            confidence=confidence,
            values=values,
            overlay=overlay,
        )
        self._launcher(stream, plan)
