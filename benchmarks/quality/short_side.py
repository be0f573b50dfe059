"""Runs a checkpoint in PyTorch with every picture at its own size, as the published evaluation does.

A picture is resized to a short side of 512 pixels with its aspect ratio kept, the long side at most 2048
(specification, section 4.1). An exported model has one input size instead, which every picture is stretched to.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.evaluation import Averaging, Labeller, Run
from ifseg_rt.errors import DeviceError
from ifseg_rt.host.refinement import refine, softmax
from ifseg_rt.upsampling.labels import upsample_labels

if TYPE_CHECKING:
    from train.models.ofa.model import IFSegModel

SHORT_SIDE, LONG_SIDE = 512, 2048
_PATCH = 16


def short_side_size(height: int, width: int) -> tuple[int, int]:
    """Return height and width of the network's input for a picture."""
    scale = min(LONG_SIDE / max(height, width), SHORT_SIDE / min(height, width))
    return int(height * scale + 0.5), int(width * scale + 0.5)


def short_side_run(name: str, model: IFSegModel, averagings: tuple[Averaging, ...], *, device: str) -> Run:
    """Return the run of a model with its vocabulary set; one pass gives all settings of the refinement.

    Raises:
        DeviceError: when it is opened: PyTorch cannot use the device.
    """

    @contextmanager
    def opened() -> Iterator[Labeller]:
        import torch

        there = torch.cuda.is_available()
        chosen = ("cuda" if there else "cpu") if device == "auto" else device
        if chosen != "cpu" and not (chosen == "cuda" and there):
            raise DeviceError(f"PyTorch cannot run on {chosen} here", hint="--device cpu or auto")
        yield _Network(model.to(chosen), averagings, chosen)

    return Run(name, averagings, opened)


class _Network:
    def __init__(self, model: IFSegModel, averagings: tuple[Averaging, ...], device: str) -> None:
        self._model, self._averagings, self._device = model.eval(), averagings, device

    def __call__(self, picture: NDArray[np.uint8]) -> list[NDArray[Any]]:
        height, width = picture.shape[:2]
        rows, columns = short_side_size(height, width)
        grid = (-(-rows // _PATCH), -(-columns // _PATCH))
        most = max((averaging[0] for averaging in self._averagings if averaging), default=0)
        resized = cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
        logits, neighbours = self._forward(resized, most)
        found: list[NDArray[Any]] = []
        for averaging in self._averagings:
            scores = logits
            if averaging is not None:
                scores = refine(softmax(logits), neighbours, k=averaging[0], rounds=averaging[1])
            found.append(upsample_labels(scores.T.reshape(-1, *grid), height, width))
        return found

    def _forward(self, picture: NDArray[np.uint8], most: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Logits [n, C] of a BGR picture, and the ``most`` nearest patches of every patch, [n, most]."""
        import torch

        from train.models.refinement import neighbours

        config = self._model.config
        with torch.inference_mode():
            pixels = torch.from_numpy(np.ascontiguousarray(picture[:, :, ::-1])).to(self._device)
            image = pixels.permute(2, 0, 1)[None].float() / 255
            mean = torch.tensor(config.image_mean, device=image.device).view(1, 3, 1, 1)
            std = torch.tensor(config.image_std, device=image.device).view(1, 3, 1, 1)
            image = (image - mean) / std
            nearest = np.zeros((0, 0), dtype=np.int32)
            logits = self._model(image)[0].float().cpu().numpy()
            if most:
                indices = neighbours(self._model.features(image), most)[0]
                nearest = indices.cpu().numpy().astype(np.int32)
            return logits, nearest
