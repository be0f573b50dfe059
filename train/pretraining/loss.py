"""Loss of pre-training: probability must fall on the *set* of words a label stands for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def membership(groups: Sequence[Sequence[str]], words: Sequence[str]) -> Tensor:
    """Which of ``words`` belong to which group: float32 ``[len(groups) + 1, len(words)]``.

    The last row is empty, so that the label -1 (ignore) indexes it.
    """
    index = {word: i for i, word in enumerate(words)}
    matrix = torch.zeros(len(groups) + 1, len(words))
    for row, group in enumerate(groups):
        for word in group:
            if word in index:
                matrix[row, index[word]] = 1.0
    return matrix


def set_loss(logits: Tensor, labels: Tensor, shares: Tensor, members: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of ``-log sum_{w in set} p(w)`` over the labels of every patch.

    Args:
        logits: ``[N, C]`` over the candidate words.
        labels: int64 ``[N, J]`` group per patch label, -1 = none.
        shares: ``[N, J]`` share of the patch each label covers.
        members: ``[G + 1, C]`` from :func:`membership`.
        weights: ``[G + 1]`` weight per group; the ignore row must be 0.

    A label whose set holds no candidate word asks nothing.
    """
    probabilities = logits.float().softmax(dim=-1)
    hit = members[labels]  # [N, J, C]
    inside = torch.einsum("nc,njc->nj", probabilities, hit)
    weight = shares * weights[labels] * (hit.sum(dim=-1) > 0)
    return -(weight * inside.clamp_min(1e-7).log()).sum() / weight.sum().clamp_min(1e-6)


def group_weights(labels: Tensor, shares: Tensor, groups: int, power: float = 0.5) -> Tensor:
    """``(median frequency / frequency) ** power`` per group, at most 5, with a trailing 0 for ignore: ``[G + 1]``."""
    frequency = torch.zeros(groups + 1)
    flat = labels.flatten()
    frequency.index_add_(0, torch.where(flat < 0, groups, flat), shares.flatten().float())
    seen = frequency[:groups] > 0
    weights = torch.ones(groups + 1)
    median = frequency[:groups][seen].median()
    weights[:groups][seen] = (median / frequency[:groups][seen]) ** power
    weights = weights.clamp(max=5.0)
    weights[groups] = 0.0
    return weights
