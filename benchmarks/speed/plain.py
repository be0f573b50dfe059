"""A plain PyTorch implementation of the specification, from frame to labels: the stand-in for the reference.

The training model as it is: position biases are computed again for every frame, every class is up-sampled to the
frame's resolution and then the largest is taken, nothing is folded, fused or skipped. The research code does the same,
and for evaluation even up-samples twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from train.models.refinement import neighbours, refine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from train.models.ofa.model import IFSegModel

NEIGHBOURS, ROUNDS = 3, 25
_MOST_8BIT_CLASSES = 256


class PlainSegmenter:
    """Frame to labels with the training model.

    Args:
        model: with its vocabulary set; moved to the device and type.
        size: input height and width.
        device: torch device.
        dtype: of weights and arithmetic; the softmax stays float32, as in the model.
        compiled: run the network through ``torch.compile``.
    """

    def __init__(
        self,
        model: IFSegModel,
        size: tuple[int, int],
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        compiled: bool = False,
    ) -> None:
        self.model = model.to(device=device, dtype=dtype).eval()
        self.size, self.device, self.dtype = size, torch.device(device), dtype
        self.grid = (-(-size[0] // 16), -(-size[1] // 16))
        config = model.config
        self.mean = torch.tensor(config.image_mean, device=device).view(1, 3, 1, 1)
        self.std = torch.tensor(config.image_std, device=device).view(1, 3, 1, 1)
        self._network: Callable[[Tensor], tuple[Tensor, Tensor]] = self._forward
        if compiled:
            self._network = torch.compile(self._forward)

    @torch.inference_mode()
    def __call__(self, frame: NDArray[np.uint8]) -> tuple[NDArray[Any], dict[str, float]]:
        """Label one ``H x W x 3`` BGR frame.

        Returns:
            Labels ``H x W`` and the milliseconds of every stage.
        """
        marks = [time.perf_counter()]

        def mark() -> None:
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            marks.append(time.perf_counter())

        image = self.preprocess(frame)
        mark()
        logits, features = self._network(image)
        mark()
        probabilities = self.refine(logits, features)
        mark()
        labels = self.labels(probabilities, frame.shape[0], frame.shape[1]).cpu().numpy()
        mark()
        names = ("preprocess", "inference", "refinement", "labels")
        return labels, {name: 1e3 * (b - a) for name, a, b in zip(names, marks, marks[1:], strict=False)}

    def preprocess(self, frame: NDArray[np.uint8]) -> Tensor:
        """Frame -> normalised RGB ``[1, 3, H, W]`` on the device."""
        resized = cv2.resize(frame, (self.size[1], self.size[0]), interpolation=cv2.INTER_LINEAR)
        pixels = torch.from_numpy(np.ascontiguousarray(resized[:, :, ::-1])).to(self.device)
        return ((pixels.permute(2, 0, 1)[None].float() / 255 - self.mean) / self.std).to(self.dtype)

    @torch.inference_mode()
    def on_device(self, frame: Tensor) -> Tensor:
        """uint8 ``[H, W, 3]`` BGR frame on the device -> labels ``[H, W]`` on the device."""
        planes = frame.flip(2).permute(2, 0, 1)[None].float()
        resized = F.interpolate(planes, size=self.size, mode="bilinear", align_corners=False)
        image = ((resized / 255 - self.mean) / self.std).to(self.dtype)
        logits, features = self._network(image)
        return self.labels(self.refine(logits, features), frame.shape[0], frame.shape[1])

    def refine(self, logits: Tensor, features: Tensor) -> Tensor:
        """``[1, n, C]`` logits, ``[1, Cf, h, w]`` features -> refined probabilities ``[1, n, C]`` float32."""
        near = neighbours(features.float(), NEIGHBOURS)
        return refine(F.softmax(logits.float(), dim=-1), near, ROUNDS)

    def labels(self, probabilities: Tensor, height: int, width: int) -> Tensor:
        """Up-samples every class, then takes the largest: ``[height, width]``, uint8 up to 256 classes, else int32."""
        planes = probabilities.transpose(1, 2).unflatten(2, self.grid)
        wide = F.interpolate(planes, size=(height, width), mode="bilinear", align_corners=False)
        return wide.argmax(dim=1)[0].to(torch.uint8 if planes.shape[1] <= _MOST_8BIT_CLASSES else torch.int32)

    def _forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = self.model.features(image)
        rows = self.model.all_logits(self.model.project(features), self.grid)
        return self.model.patch_rows(rows), features
