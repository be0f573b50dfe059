"""Adaptations that have come to a certain point."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import Tensor

from train.adaptation.loop import Adaptation, AdaptationConfig, Progress
from train.loaded_model import LoadedModel
from train.models.ofa.model import IFSegModel


@pytest.fixture(scope="session")
def interrupted(make_small: Callable[..., LoadedModel[IFSegModel]]) -> Callable[[AdaptationConfig], Adaptation]:
    """An adaptation of its own small model that ended after the first update."""

    def make(config: AdaptationConfig) -> Adaptation:
        started = Adaptation(make_small(), config)

        def stop(_: Progress) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            started.run(stop)
        return started

    return make


@pytest.fixture(scope="session")
def two_updates() -> AdaptationConfig:
    return AdaptationConfig(steps=2, batch_size=1)


@pytest.fixture(scope="session")
def uninterrupted(
    make_small: Callable[..., LoadedModel[IFSegModel]], two_updates: AdaptationConfig
) -> tuple[float, dict[str, Tensor]]:
    """Loss and weights after both updates."""
    model = make_small()
    return Adaptation(model, two_updates).run(), model.state_dict()
