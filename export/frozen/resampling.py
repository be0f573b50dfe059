"""Half-pixel bilinear resampling of one axis as a matrix."""

from __future__ import annotations

import torch
from torch import Tensor


def bilinear_matrix(source: int, target: int) -> Tensor:
    """Weights ``[target, source]``, float64; rows sum to one (spec 5: half-pixel centres, no smoothing)."""
    if source == target:
        return torch.eye(source, dtype=torch.float64)
    at = ((torch.arange(target, dtype=torch.float64) + 0.5) * source / target - 0.5).clamp(min=0)
    low = at.floor().long().clamp(max=source - 1)
    high = (low + 1).clamp(max=source - 1)
    weight = at - low
    out = torch.zeros(target, source, dtype=torch.float64)
    index = torch.arange(target)
    out.index_put_((index, low), 1 - weight, accumulate=True)
    out.index_put_((index, high), weight, accumulate=True)
    return out
