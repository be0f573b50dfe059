"""The strip-wise loss and its analytic gradient against up-sampling and cross-entropy as PyTorch does them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from train.adaptation.objective import upsampled_cross_entropy

GRID, SIDE = 32, 512


def plain(logits: Tensor, target: Tensor) -> Tensor:
    """The same loss in the dtype of ``logits``, every up-sampled picture kept."""
    grids = logits.transpose(1, 2).unflatten(2, (GRID, GRID))
    return F.cross_entropy(F.interpolate(grids, size=(SIDE, SIDE), mode="bilinear", align_corners=False), target)


def sample(batch: int, classes: int, spread: float = 3.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(batch, GRID * GRID, classes, generator=generator)
    return logits, torch.randint(classes, (batch, SIDE, SIDE), generator=generator)


def loss_and_gradient(loss_of, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    leaf = logits.clone().requires_grad_()
    loss = loss_of(leaf, target)
    (gradient,) = torch.autograd.grad(loss, leaf)
    return loss.detach(), gradient


@pytest.mark.parametrize("classes", [1, 2, 7])
def test_loss_and_gradient_equal_those_of_float64(classes: int):
    logits, target = sample(2, classes)
    loss, gradient = loss_and_gradient(upsampled_cross_entropy, logits, target)
    wanted, wanted_gradient = loss_and_gradient(plain, logits.double(), target)
    assert loss.dtype == gradient.dtype == torch.float32
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-6, abs=1e-6)
    # An entry is at most 1 / (2 * 1024): relative to that, not to 1.
    torch.testing.assert_close(gradient.double() * 2048, wanted_gradient * 2048, atol=1e-6, rtol=0)
    if classes == 1:
        assert loss.item() == 0.0 and not gradient.any()


def test_gradient_is_the_slope_of_the_loss():
    """Central differences in float64 of the plain loss along random directions: no autograd on the expected side."""
    logits, target = sample(1, 3)
    _, gradient = loss_and_gradient(upsampled_cross_entropy, logits, target)
    for seed in range(3):
        direction = torch.randn(logits.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        step = 1e-4 * direction
        slope = (plain(logits.double() + step, target) - plain(logits.double() - step, target)) / 2e-4
        assert (gradient.double() * direction).sum().item() == pytest.approx(slope.item(), abs=1e-6)


@pytest.mark.parametrize("offset", [-1e4, 1e4])
def test_large_logits_do_not_overflow(offset: float):
    logits, target = sample(1, 3, spread=1e3)
    loss, gradient = loss_and_gradient(upsampled_cross_entropy, logits + offset, target)
    wanted, wanted_gradient = loss_and_gradient(plain, (logits + offset).double(), target)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-4)
    assert gradient.isfinite().all()
    torch.testing.assert_close(gradient.double() * 1024, wanted_gradient * 1024, atol=1e-2, rtol=0)


def test_the_caller_s_logits_and_targets_are_left_alone():
    logits, target = sample(1, 3)
    kept, kept_target = logits.clone(), target.clone()
    loss_and_gradient(upsampled_cross_entropy, logits, target)
    assert torch.equal(logits, kept) and torch.equal(target, kept_target)


def test_gradient_is_scaled_by_what_comes_back():
    """A loss scaler multiplies the loss; its factor has to arrive at the logits, exactly where it is a power of two."""
    logits, target = sample(1, 3)
    _, gradient = loss_and_gradient(upsampled_cross_entropy, logits, target)
    _, scaled = loss_and_gradient(lambda x, t: 128.0 * upsampled_cross_entropy(x, t), logits, target)
    assert torch.equal(scaled, 128.0 * gradient)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_dtypes_are_computed_in_float32(dtype: torch.dtype):
    logits, target = sample(1, 3)
    loss, gradient = loss_and_gradient(upsampled_cross_entropy, logits.to(dtype), target)
    wanted, wanted_gradient = loss_and_gradient(upsampled_cross_entropy, logits.to(dtype).float(), target)
    assert loss.dtype == torch.float32 and gradient.dtype == dtype
    assert torch.equal(loss, wanted) and torch.equal(gradient, wanted_gradient.to(dtype))


def test_autocast_changes_nothing():
    logits, target = sample(1, 3)
    wanted = loss_and_gradient(upsampled_cross_entropy, logits, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss_and_gradient(upsampled_cross_entropy, logits, target)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_a_second_derivative_is_refused_rather_than_wrong():
    logits, target = sample(1, 2)
    leaf = logits.requires_grad_()
    loss = upsampled_cross_entropy(leaf, target)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(loss, leaf, create_graph=True)


def test_a_number_that_is_none_shows_in_the_loss():
    logits, target = sample(1, 3)
    logits[0, 5, 1] = float("nan")
    assert upsampled_cross_entropy(logits, target).isnan()


def test_a_target_outside_the_classes_is_refused():
    logits, target = sample(1, 3)
    target[0, 0, 0] = 3
    with pytest.raises((RuntimeError, IndexError), match="out of bounds"):
        upsampled_cross_entropy(logits, target)


def test_one_target_per_picture():
    logits, target = sample(2, 3)
    with pytest.raises(ValueError, match="zip"):
        upsampled_cross_entropy(logits, target[:1])
