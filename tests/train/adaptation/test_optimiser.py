"""The optimiser by the reference's formula, with and without a loss scaler, and when a gradient is not finite."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from ifseg_rt.errors import CheckpointError
from train.adaptation.optimiser import BETAS, EPS, WEIGHT_DECAY, ReferenceAdam, learning_rate

PEAK, UPDATES = 1e-2, 20


def parameter() -> nn.Parameter:
    return nn.Parameter(torch.linspace(-1, 1, 5))


def gradient(update: int) -> Tensor:
    """Of norm below 1, and some entries so small that eps matters."""
    values = torch.randn(5, generator=torch.Generator().manual_seed(update)) * 0.1
    return values * torch.tensor([1.0, 1.0, 1e-7, 1e-8, 0.0])


def by_formula(gradients: list[Tensor | None]) -> Tensor:
    """Adam whose eps joins the uncorrected root, in float64; ``None`` is an update that was skipped."""
    value, first, second = parameter().detach().double(), torch.zeros(5).double(), torch.zeros(5).double()
    applied = 0
    for update, found in enumerate(gradients):
        if found is None:
            continue
        applied += 1
        grad = found.double()
        first = BETAS[0] * first + (1 - BETAS[0]) * grad
        second = BETAS[1] * second + (1 - BETAS[1]) * grad * grad
        rate = learning_rate(update, UPDATES, PEAK)
        corrected = rate * math.sqrt(1 - BETAS[1] ** applied) / (1 - BETAS[0] ** applied)
        value = value * (1 - rate * WEIGHT_DECAY) - corrected * first / (second.sqrt() + EPS)
    return value


def run(gradients: list[Tensor], scaler: torch.amp.GradScaler | None) -> tuple[nn.Parameter, ReferenceAdam]:
    trained = parameter()
    optimiser = ReferenceAdam([trained], PEAK, UPDATES)
    for found in gradients:
        loss = (trained * found).sum()
        (loss if scaler is None else scaler.scale(loss)).backward()
        optimiser.step(scaler)
        assert trained.grad is None
    return trained, optimiser


@pytest.mark.parametrize("scaling", ["none", "off", "on"])
def test_updates_follow_the_formula(scaling: str):
    scaler = None if scaling == "none" else torch.amp.GradScaler("cpu", init_scale=128.0, enabled=scaling == "on")
    gradients = [gradient(i) for i in range(6)]
    trained, optimiser = run(gradients, scaler)
    torch.testing.assert_close(trained.detach().double(), by_formula(gradients), atol=1e-6, rtol=0)
    assert optimiser.update == 6


@pytest.mark.parametrize("overflows", [{0}, {2}, {0, 1, 4}])
def test_skipped_updates_count_for_the_schedule_and_not_for_eps(overflows: set[int]):
    scaler = torch.amp.GradScaler("cpu", init_scale=128.0)
    gradients = [gradient(i) if i not in overflows else torch.full((5,), math.inf) for i in range(6)]
    trained, optimiser = run(gradients, scaler)
    wanted = by_formula([None if i in overflows else g for i, g in enumerate(gradients)])
    torch.testing.assert_close(trained.detach().double(), wanted, atol=1e-6, rtol=0)
    assert optimiser.update == 6 and scaler.get_scale() == 128.0 / 2 ** len(overflows)


def test_the_norm_is_the_one_before_scaling_and_clipping():
    scaler = torch.amp.GradScaler("cpu", init_scale=128.0)
    trained = parameter()
    optimiser = ReferenceAdam([trained], PEAK, UPDATES)
    scaler.scale((trained * 3).sum()).backward()
    assert optimiser.step(scaler) == pytest.approx(3 * math.sqrt(5))
    moment = optimiser.adam.state[trained]["exp_avg"] / (1 - BETAS[0])
    assert moment.norm().item() == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("value", [math.inf, math.nan])
@pytest.mark.parametrize("scaling", ["none", "off", "exhausted"])
def test_a_gradient_that_is_not_finite_updates_nothing(value: float, scaling: str):
    scaler = {
        "none": None,
        "off": torch.amp.GradScaler("cpu", enabled=False),
        "exhausted": torch.amp.GradScaler("cpu", init_scale=1e-4),
    }[scaling]
    trained = parameter()
    optimiser = ReferenceAdam([trained], PEAK, UPDATES)
    loss = (trained * value).sum()
    (loss if scaler is None else scaler.scale(loss)).backward()
    with pytest.raises(CheckpointError, match="gradient is not finite at step 1"):
        optimiser.step(scaler)
    assert torch.equal(trained, parameter()) and not optimiser.adam.state and optimiser.update == 0
