"""Adam with decoupled weight decay in the reference's form, and its learning-rate schedule (spec 11.4)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from ifseg_rt.errors import CheckpointError

BETAS = (0.9, 0.999)
EPS = 1e-8
WEIGHT_DECAY = 0.1
CLIP_NORM = 1.0
# The loss scale below which overflows are no longer put down to the scale.
LEAST_SCALE = 1e-4


def learning_rate(update: int, updates: int, peak: float) -> float:
    """Cosine from ``peak`` to 0 over all updates, no warm-up; ``update`` counts from 0."""
    return 0.5 * peak * (1 + math.cos(math.pi * update / updates))


class ReferenceAdam:
    """``torch.optim.AdamW`` whose eps is added to the *un-corrected* root of the second moment.

    PyTorch divides that root by ``sqrt(1 - b2^t)`` before it adds eps; scaling eps by the same factor at every step
    gives the reference's update exactly.

    Args:
        parameters: what is trained.
        peak: learning rate of the first update.
        updates: length of the schedule.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], peak: float, updates: int) -> None:
        self.parameters = list(parameters)
        self.peak = peak
        self.updates = updates
        self.update = 0
        self.adam = torch.optim.AdamW(self.parameters, lr=peak, betas=BETAS, eps=EPS, weight_decay=WEIGHT_DECAY)

    def step(self, scaler: torch.amp.GradScaler | None = None) -> float:
        """Clips the global gradient norm, updates, clears the gradients.

        Args:
            scaler: of the loss, where its gradients are scaled; it skips an update that overflowed.

        Returns:
            The gradient norm as it was before clipping.

        Raises:
            CheckpointError: the gradient is not finite, and no smaller loss scale would help; nothing was updated.
        """
        # Of updates that were not skipped: PyTorch's own bias correction counts the same.
        applied = 1 + max((int(state["step"]) for state in self.adam.state.values()), default=0)
        for group in self.adam.param_groups:
            group["lr"] = learning_rate(self.update, self.updates, self.peak)
            group["eps"] = EPS / math.sqrt(1 - BETAS[1] ** applied)
        if scaler is not None:
            scaler.unscale_(self.adam)
        norm = float(nn.utils.clip_grad_norm_(self.parameters, CLIP_NORM))
        if not math.isfinite(norm) and (scaler is None or scaler.get_scale() <= LEAST_SCALE or not scaler.is_enabled()):
            raise CheckpointError(
                f"the gradient is not finite at step {self.update + 1}",
                hint="lower --lr, or check the base checkpoint",
            )
        if scaler is None:
            self.adam.step()
        else:
            scaler.step(self.adam)
            scaler.update()
        self.adam.zero_grad(set_to_none=True)
        self.update += 1
        return norm

    def restore(self, moments: Mapping[int, Mapping[str, Tensor]], update: int) -> None:
        """Goes on from ``moments``, Adam's state by the index of a parameter, after ``update`` updates."""
        settings = self.adam.state_dict()["param_groups"]
        self.adam.load_state_dict({"state": moments, "param_groups": settings})
        self.update = update
