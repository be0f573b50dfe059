"""The image-free loss: cross-entropy at 512 x 512 against bilinearly up-sampled logits (spec 11.2).

Motivation (one core, 16 images): through ``F.interpolate`` and ``F.cross_entropy``, which keep every up-sampled
picture for the backward pass, this took 0.46 s and 0.8 GB per update at 12 categories, a tenth of an update of
``micro``, and 9 s and 3.2 GB at 150 categories, most of it. Written as below: 0.19 s, and 2.8 s with 0.7 GB.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from train.adaptation.artificial import GRID_SIDE, TARGET_SIDE

# Up-sampled rows that are worked on at a time on a CPU: within 10% of the best of 8..512 at 3 to 150 categories.
# On a GPU, whose kernels want work, a whole picture.
_CPU_ROWS = 32


def upsampled_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy over all pixels.

    Args:
        logits: ``[B, 1024, C]`` on the 32 x 32 grid; computed in float32 whatever the dtype.
        target: int64 ``[B, 512, 512]``.

    Returns:
        Scalar float32, differentiable once.
    """
    grids = logits.float().transpose(1, 2).unflatten(2, (GRID_SIDE, GRID_SIDE))
    loss: Tensor = _UpsampledCrossEntropy.apply(grids, target)  # type: ignore[no-untyped-call]
    return loss


class _UpsampledCrossEntropy(torch.autograd.Function):
    """Loss and gradient in one pass over strips of up-sampled rows, none of which outlives its turn.

    Bilinear up-sampling is ``U x U^T`` with one matrix for rows and columns, so that the gradient is
    ``U^T (softmax - one_hot) U``, known as soon as the strip is.
    """

    @staticmethod
    def forward(ctx: Any, grids: Tensor, target: Tensor) -> Tensor:  # noqa: ANN401 - torch's context
        with torch.autocast(grids.device.type, enabled=False):
            up = _upsampling_matrix(grids.device)
            total = torch.zeros((), dtype=torch.float64, device=grids.device)
            gradient = torch.empty_like(grids, memory_format=torch.contiguous_format)
            rows = _CPU_ROWS if grids.device.type == "cpu" else TARGET_SIDE
            for grid, wanted, slot in zip(grids, target, gradient, strict=True):
                wide = torch.matmul(grid, up.t())  # columns first: [C, 32, 512]
                wide_gradient = torch.zeros_like(wide)
                for weights, ids in zip(up.split(rows), wanted[None].split(rows, dim=1), strict=True):
                    strip_loss, strip_gradient = _cross_entropy(torch.matmul(weights, wide), ids)
                    total += strip_loss
                    wide_gradient += torch.matmul(weights.t(), strip_gradient)
                torch.matmul(wide_gradient, up, out=slot)
        ctx.save_for_backward(gradient.div_(target.numel()))
        return (total / target.numel()).float()

    @staticmethod
    def backward(ctx: Any, loss_gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401 - torch's context
        if torch.is_grad_enabled():  # create_graph; once_differentiable lets it pass when the loss is the root
            raise RuntimeError("the up-sampled cross-entropy has no second derivative")
        (gradient,) = ctx.saved_tensors
        return gradient * loss_gradient, None


def _cross_entropy(logits: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Summed loss (float64 scalar) and its gradient; works in place on ``logits [C, rows, 512]``, ids ``[1, ...]``."""
    logits -= logits.amax(dim=0)
    chosen = logits.gather(0, ids).sum(dtype=torch.float64)
    probabilities = logits.exp_()
    norm = probabilities.sum(dim=0)
    probabilities /= norm
    probabilities.scatter_add_(0, ids, torch.full_like(norm, -1.0)[None])
    return norm.log().sum(dtype=torch.float64) - chosen, probabilities


def _upsampling_matrix(device: torch.device) -> Tensor:
    """Half-pixel bilinear weights of 512 outputs over 32 inputs, ``[512, 32]``: what up-sampling makes of unit rows."""
    unit = torch.eye(GRID_SIDE, device=device)[None]
    return F.interpolate(unit, size=TARGET_SIDE, mode="linear", align_corners=False)[0].t().contiguous()
