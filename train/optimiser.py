"""Adam with decoupled weight decay in the reference's form, and its learning-rate schedule (spec 11.4)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

BETAS = (0.9, 0.999)
EPS = 1e-8
WEIGHT_DECAY = 0.1
CLIP_NORM = 1.0


def learning_rate(update: int, updates: int, peak: float) -> float:
    """Cosine from ``peak`` to 0 over all updates, no warm-up; ``update`` counts from 0."""
    return 0.5 * peak * (1 + math.cos(math.pi * update / updates))


class ReferenceAdam:
    """``torch.optim.AdamW`` whose eps is added to the *un-corrected* root of the second moment.

    PyTorch divides that root by ``sqrt(1 - b2^t)`` before it adds eps; scaling eps by the same factor at every step
    gives the reference's update exactly.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], peak: float, updates: int) -> None:
        self.parameters = list(parameters)
        self.peak = peak
        self.updates = updates
        self.update = 0
        self.adam = torch.optim.AdamW(self.parameters, lr=peak, betas=BETAS, eps=EPS, weight_decay=WEIGHT_DECAY)

    def prepare(self) -> None:
        """Sets this update's learning rate and eps."""
        for group in self.adam.param_groups:
            group["lr"] = learning_rate(self.update, self.updates, self.peak)
            group["eps"] = EPS / math.sqrt(1 - BETAS[1] ** (self.update + 1))

    def clip(self) -> float:
        """Clips the global gradient norm to 1 and returns it as it was."""
        return float(nn.utils.clip_grad_norm_(self.parameters, CLIP_NORM))

    def step(self) -> float:
        """Clips, updates, clears the gradients; returns the gradient norm before clipping."""
        self.prepare()
        norm = self.clip()
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        self.update += 1
        return norm
