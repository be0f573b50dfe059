"""The frozen module as one CUDA graph per frame, from uint8 frame to labels: the fastest way without TensorRT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from export.frozen.segmenter import FrozenSegmenter
from ifseg_rt.errors import UsageError
from ifseg_rt.kernels.launches import plan_labels, plan_preprocess, plan_refine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from train.models.ofa.model import IFSegModel

_NEIGHBOURS, _ROUNDS = 3, 25
_WARMUP = 3
_MOST_8BIT_CLASSES = 256


class FrozenFrame:
    """One frame size, everything allocated once.

    On a GPU the whole frame is recorded and replayed; on the CPU, for trying it out, it runs as it is.

    Args:
        model: in eval mode with its vocabulary set.
        size: input height and width.
        frame: frame height and width.
        device: torch device.
        precision: of weights and matrix products.
        our_kernels: pre-processing, refinement and labels by :mod:`ifseg_rt.kernels` instead of PyTorch.

    Raises:
        UsageError: our kernels were asked for without a GPU.
        DeviceError: our kernels cannot be compiled or loaded.
    """

    def __init__(
        self,
        model: IFSegModel,
        size: tuple[int, int],
        frame: tuple[int, int],
        *,
        device: str = "cuda",
        precision: Literal["fp16", "fp32"] = "fp16",
        our_kernels: bool = False,
    ) -> None:
        on_gpu = torch.device(device).type == "cuda"
        if our_kernels and not on_gpu:
            raise UsageError("our kernels need a GPU")
        self.config, self.size = model.config, size
        self.classes = len(model.category_embedding)
        # With no rounds the module's own averaging is empty: its probabilities are what our kernel begins with.
        rounds = 0 if our_kernels else _ROUNDS
        frozen = FrozenSegmenter(
            model, size, neighbours=_NEIGHBOURS, rounds=rounds, biases="tables", precision=precision
        )
        self.network = frozen.to(device)
        self.kernels = _Kernels() if our_kernels else None
        small = self.classes <= _MOST_8BIT_CLASSES
        self.frame = torch.zeros(*frame, 3, dtype=torch.uint8, device=device)
        self.labels = torch.zeros(*frame, dtype=torch.uint8 if small else torch.int16, device=device)
        image_type = torch.float16 if our_kernels and precision == "fp16" else torch.float32
        self.image = torch.zeros(1, 3, *size, dtype=image_type, device=device)
        self.refined = torch.zeros(1, self.classes, *frozen.grid, device=device)
        self.mean = torch.tensor(model.config.image_mean, device=device).view(1, 3, 1, 1)
        self.std = torch.tensor(model.config.image_std, device=device).view(1, 3, 1, 1)
        self.host_frame = torch.zeros(*frame, 3, dtype=torch.uint8, pin_memory=on_gpu)
        self.host_labels = torch.zeros_like(self.labels, device="cpu", pin_memory=on_gpu)
        self._graph = self._record() if on_gpu else None

    @torch.inference_mode()
    def from_host(self, picture: NDArray[np.uint8]) -> NDArray[Any]:
        """``H x W x 3`` BGR frame -> labels ``H x W``, both on the host."""
        np.copyto(self.host_frame.numpy(), picture)
        self.frame.copy_(self.host_frame, non_blocking=True)
        self._run()
        self.host_labels.copy_(self.labels, non_blocking=True)
        if self._graph is not None:
            torch.cuda.current_stream().synchronize()
        return self.host_labels.numpy().copy()

    @torch.inference_mode()
    def on_device(self, picture: Tensor) -> Tensor:
        """uint8 ``[H, W, 3]`` frame on the device -> labels there; the next call writes over them."""
        self.frame.copy_(picture)
        self._run()
        return self.labels

    def _run(self) -> None:
        if self._graph is None:
            self._step()
        else:
            self._graph.replay()

    @torch.inference_mode()
    def _record(self) -> torch.cuda.CUDAGraph:
        # Libraries choose their algorithms and allocate their work space in the first calls, which cannot be recorded.
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARMUP):
                self._step()
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._step()
        return graph

    def _step(self) -> None:
        height, width = self.frame.shape[:2]
        if self.kernels is not None:
            self.kernels.preprocess(self)
            planes, _, near = self.network(self.image)
            self.kernels.label(self, planes.contiguous(), near.contiguous())
            return
        pixels = self.frame.flip(2).permute(2, 0, 1)[None].float()
        resized = F.interpolate(pixels, size=self.size, mode="bilinear", align_corners=False)
        self.image.copy_((resized / 255 - self.mean) / self.std)
        planes, _, _ = self.network(self.image)
        wide = F.interpolate(planes, size=(height, width), mode="bilinear", align_corners=False)
        self.labels.copy_(wide.argmax(dim=1)[0])


class _Kernels:
    """This project's kernels on PyTorch's memory and current stream."""

    def __init__(self) -> None:
        from ifseg_rt.kernels.compile import cuda_core
        from ifseg_rt.kernels.loaded import LoadedKernels

        self.core = cuda_core()
        torch.cuda.init()  # its context is the device's own, which cuda.core joins
        self.kernels = LoadedKernels(self.core.Device(torch.cuda.current_device()))

    def _stream(self) -> Any:  # noqa: ANN401 - a cuda.core.Stream
        # Address 0 is the default stream, which has another name there; while recording it is never that one.
        return self.core.Stream.from_handle(torch.cuda.current_stream().cuda_stream or 1)

    def preprocess(self, frame: FrozenFrame) -> None:
        height, width = frame.frame.shape[:2]
        launch = plan_preprocess(
            frame.frame.data_ptr(),
            height,
            width,
            3 * width,
            swap=True,
            out=frame.image.data_ptr(),
            out_height=frame.size[0],
            out_width=frame.size[1],
            mean=frame.config.image_mean,
            std=frame.config.image_std,
            half=frame.image.dtype == torch.float16,
        )
        self.kernels.launch(self._stream(), launch)

    def label(self, frame: FrozenFrame, planes: Tensor, near: Tensor) -> None:
        stream = self._stream()
        _, classes, grid_h, grid_w = planes.shape
        refined = frame.refined.data_ptr()
        patches, stride = near.shape[1:]
        averaging = plan_refine(
            planes.data_ptr(),
            near.data_ptr(),
            patches,
            classes,
            stride,
            _NEIGHBOURS,
            _ROUNDS,
            out=refined,
            shared_limit=self.kernels.shared_limit,
        )
        self.kernels.launch(stream, averaging)
        height, width = frame.labels.shape
        wide = frame.labels.dtype != torch.uint8
        labelling = plan_labels(
            refined,
            classes,
            grid_h,
            grid_w,
            labels=frame.labels.data_ptr(),
            height=height,
            width=width,
            wide=wide,
        )
        self.kernels.launch(stream, labelling)
