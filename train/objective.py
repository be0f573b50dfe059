"""The image-free loss: cross-entropy at 512 x 512 against bilinearly up-sampled logits (spec 11.2)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from train.artificial import GRID_SIDE, TARGET_SIDE


def upsampled_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy over all pixels.

    One sample at a time: a batch of 16 at 150 categories would otherwise take 2.5 GB, three times over.

    Args:
        logits: ``[B, 1024, C]`` on the 32 x 32 grid; computed in float32 whatever the dtype.
        target: int64 ``[B, 512, 512]``.

    Returns:
        Scalar float32.
    """
    grids = logits.float().transpose(1, 2).unflatten(2, (GRID_SIDE, GRID_SIDE))
    total = grids.new_zeros(())
    for grid, wanted in zip(grids, target, strict=True):
        full = F.interpolate(grid[None], size=(TARGET_SIDE, TARGET_SIDE), mode="bilinear", align_corners=False)
        total = total + F.cross_entropy(full, wanted[None])
    return total / len(grids)
