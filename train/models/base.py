"""What export and adaptation need of a model, whatever its family: a new family fills this in, its callers stay."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn


class FamilyConfig(Protocol):
    """What is read of a family's configuration."""

    @property
    def name(self) -> str:
        """Of the architecture, e.g. ``"base"``."""

    @property
    def image_mean(self) -> tuple[float, float, float]:
        """Per RGB channel, of pixels scaled to 0..1."""

    @property
    def image_std(self) -> tuple[float, float, float]:
        """Likewise, above 0."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, equal for equal configurations: resume files are told apart by them."""


class SegmentationModel(nn.Module, ABC):
    """A network with the words of its categories built in.

    Attributes:
        method: name of the family in sidecars.
        config: see :class:`FamilyConfig`.
        prompt_ids: int64 ``[L]``, token ids of the prompt; empty in a family without one.
        category_embedding: float32 ``[C, D]``, a row per category; no rows before there is a vocabulary.
    """

    method: ClassVar[str]
    config: FamilyConfig
    prompt_ids: Tensor
    category_embedding: Tensor

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.category_embedding.device

    @abstractmethod
    def score(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Normalised RGB float32 ``[B, 3, H, W]`` -> what labels are made of, float32.

        Returns:
            Logits ``[B, h * w, C]``; and the features ``[B, Cf, h, w]`` that patches are compared by for the
            refinement (spec 9), ``None`` in a family without one.

        Raises:
            VocabularyError: there are no categories yet.
        """

    def forward(self, images: Tensor) -> Tensor:
        """The logits of :meth:`score`."""
        return self.score(images)[0]

    @abstractmethod
    def forward_artificial(self, category_map: Tensor) -> Tensor:
        """Image-free forward (spec 11.1): int64 category indices ``[B, h, w]`` -> logits ``[B, h * w, C]``."""

    @abstractmethod
    def freeze_for_adaptation(self) -> None:
        """Leaves gradients to those parameters that adaptation changes."""

    def trainable_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and parameters that adaptation changes."""
        return ((name, p) for name, p in self.named_parameters() if p.requires_grad)
