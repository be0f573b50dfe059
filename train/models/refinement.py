"""Training-free smoothing of the predictions over nearest neighbours in feature space (spec 9)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def neighbours(features: Tensor, k: int) -> Tensor:
    """Indices of the ``k`` most similar patches by cosine, falling: ``[B, Cf, h, w]`` -> int64 ``[B, n, k]``."""
    rows = F.normalize(features.flatten(2).transpose(1, 2), dim=-1, eps=1e-12)
    return torch.matmul(rows, rows.transpose(1, 2)).topk(k, dim=-1).indices


def refine(probabilities: Tensor, indices: Tensor, rounds: int) -> Tensor:
    """``rounds`` times the mean over each patch's neighbours: ``[B, n, C]``, int64 ``[B, n, k]`` -> ``[B, n, C]``."""
    batch = torch.arange(probabilities.shape[0], device=probabilities.device)[:, None, None]
    for _ in range(rounds):
        probabilities = probabilities[batch, indices].mean(dim=2)
    return probabilities
