"""Ranges of activations: what static integers (:mod:`export.graph.static_int8`) are scaled by."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from export.frozen.precision import LowLinear
from export.frozen.segmenter import FrozenSegmenter
from export.pictures import calibration_pictures
from export.sidecar import preprocess_of
from ifseg_rt.host.preprocess import Preprocessor

if TYPE_CHECKING:
    from train.models.ofa.model import IFSegModel


def measure_ranges(model: IFSegModel, size: tuple[int, int], pictures: Path | None) -> dict[str, float]:
    """Ranges for a model at an input size, see :func:`input_ranges`.

    Args:
        model: in evaluation mode on the CPU, its vocabulary set.
        size: input height and width in pixels.
        pictures: folder to take them from; ``None`` for synthetic pictures.

    Raises:
        SourceError: the pictures cannot be read.
    """
    prepare = Preprocessor(preprocess_of(model.config, size))
    shown = calibration_pictures(pictures)
    # As tables the biases are ready; what comes after the network is left out.
    wide = FrozenSegmenter(model, size, neighbours=1, rounds=0, biases="tables")
    return input_ranges(wide, (torch.from_numpy(prepare(frame, "bgr")) for _, frame in shown))


def input_ranges(module: nn.Module, images: Iterable[Tensor]) -> dict[str, float]:
    """Largest absolute input of every linear layer.

    Args:
        module: a frozen module in float32.
        images: normalised pictures ``[B, 3, H, W]``.

    Returns:
        By name of the layer within the module.
    """
    ranges: dict[str, float] = {}

    def watch(name: str, layer: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def look(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            ranges[name] = max(ranges.get(name, 0.0), inputs[0].abs().max().item())

        return layer.register_forward_pre_hook(look)

    handles = [watch(name, layer) for name, layer in module.named_modules() if isinstance(layer, LowLinear)]
    try:
        with torch.no_grad():
            for image in images:
                module(image)
    finally:
        for handle in handles:
            handle.remove()
    return ranges
