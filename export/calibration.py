"""Ranges of activations: what static integers (:mod:`export.graph.static_int8`) are scaled by."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from export.frozen.precision import LowLinear
from export.pictures import calibration_pictures
from ifseg_rt.artifact.sidecar import Preprocess
from ifseg_rt.host.preprocess import Preprocessor


def measure_ranges(module: nn.Module, preprocess: Preprocess, pictures: Path | None) -> dict[str, float]:
    """Ranges over the calibration pictures, see :func:`input_ranges`.

    Args:
        module: a frozen module in float32 on the CPU.
        preprocess: how pictures become its input.
        pictures: folder to take them from; ``None`` for synthetic pictures.

    Raises:
        SourceError: the pictures cannot be read.
    """
    prepare = Preprocessor(preprocess)
    shown = calibration_pictures(pictures)
    return input_ranges(module, (torch.from_numpy(prepare(frame, "bgr")) for _, frame in shown))


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
