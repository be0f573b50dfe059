"""What every frozen network ends in, whatever its family: probabilities on the grid, averaged over similar patches."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.frozen.precision import DTYPES, Precision
from ifseg_rt.artifact.schema import LOGITS, NEIGHBOURS, PROBABILITIES, Refinement
from ifseg_rt.errors import UsageError

MAX_NEIGHBOURS = 8
# Similarities and biases grow with its square: 9216 patches (1536 x 1536 pixels) take 340 MB per table and head.
MOST_PATCHES = 9216


class FrozenModel(nn.Module, ABC):
    """One model, one vocabulary, one input size: the module that a graph is written from.

    ``forward(image float32 [B, 3, H, W], normalised RGB)`` returns ``probabilities [B, C, h, w]`` after the refinement
    (spec 9), ``logits [B, n, C]`` and ``neighbours`` int32 ``[B, n, K]``, most similar first. Without a refinement
    there are no neighbours, and the probabilities are those of the logits.

    Args:
        size: input height and width in pixels.
        patch: height and width of a patch in pixels.
        batch: pictures per call, at most.
        smallest_batch: the fewest, where the graph shall take any number from there to ``batch``; ``None`` for exactly
            ``batch``.
        averaging: neighbours per patch that the refinement averages, and how often; ``None`` for no refinement.
        precision: of weights and matrix products, see :mod:`export.frozen.precision`; inputs and outputs stay float32.

    Raises:
        UsageError: settings that do not fit the grid, or a grid that is empty or too large.
    """

    batch_offsets: Tensor

    def __init__(
        self,
        size: tuple[int, int],
        *,
        patch: int,
        batch: int,
        smallest_batch: int | None,
        averaging: tuple[int, int] | None,
        precision: Precision,
    ) -> None:
        super().__init__()
        self.size, self.batch, self.smallest_batch = size, batch, smallest_batch
        self.precision, self.dtype = precision, DTYPES[precision]
        # What int8_fp16 is written with, see export.graph.static_int8.
        self.input_ranges: dict[str, float] = {}
        self.grid = (-(-size[0] // patch), -(-size[1] // patch))
        self.patches = self.grid[0] * self.grid[1]
        if not 1 <= self.patches <= MOST_PATCHES:
            raise UsageError(
                f"an input of {size[0]} x {size[1]} pixels has {self.patches} patches of {patch} x {patch}; "
                f"expected 1 to {MOST_PATCHES}",
                hint="choose a smaller --size; frames of any size are stretched to it",
            )
        self.refinement: Refinement | None = None
        if averaging is not None:
            most = min(MAX_NEIGHBOURS, self.patches)
            if not 1 <= averaging[0] <= most:
                raise UsageError(
                    f"the refinement takes 1 to {most} neighbours on a grid of {self.patches} patches, "
                    f"found {averaging[0]}"
                )
            self.refinement = Refinement(*averaging, most)

    def finish(self) -> None:
        """Completes the module; the last call of a family's ``__init__``, as constants lie in the graph in order."""
        self.register_buffer("batch_offsets", torch.arange(self.batch)[:, None, None] * self.patches)
        self.requires_grad_(False).eval()

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of what :meth:`forward` returns."""
        return (PROBABILITIES, LOGITS) if self.refinement is None else (PROBABILITIES, LOGITS, NEIGHBOURS)

    @abstractmethod
    def score(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised pictures -> logits float32 ``[B * n, C]``, and features ``[B * n, Cf]`` to compare patches by."""

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        rows, features = self.score(image)
        logits = per_picture(rows, self.patches)
        if self.refinement is None:
            return self._on_grid(F.softmax(logits, dim=-1)), logits
        near = self._neighbours(features, self.refinement.max_neighbours)
        refined = self._refine(F.softmax(logits, dim=-1), near, self.refinement)
        return self._on_grid(refined), logits, near.to(torch.int32)

    def _on_grid(self, probabilities: Tensor) -> Tensor:
        planes: Tensor = probabilities.transpose(1, 2).unflatten(2, self.grid)
        return planes

    def _neighbours(self, features: Tensor, most: int) -> Tensor:
        """Most similar patches by cosine (spec 9, step 2), int64 ``[B, n, K]``."""
        features = features.float()
        unit = features / torch.linalg.vector_norm(features, dim=-1, keepdim=True).clamp(min=1e-12)
        unit = per_picture(unit, self.patches)
        return torch.matmul(unit, unit.transpose(1, 2)).topk(most, dim=-1).indices

    def _refine(self, probabilities: Tensor, near: Tensor, settings: Refinement) -> Tensor:
        """Mean over the nearest patches, ``rounds`` times (spec 9, step 3), by gathers of whole rows."""
        used = near[:, :, : settings.neighbours]
        if self.batch > 1:
            used = used + self.batch_offsets[: used.shape[0]]
        # All first neighbours, then all second ones: the mean is then a sum of whole matrices. With the neighbours of a
        # patch side by side 25 rounds took 3.2 ms, like this 1.5 ms (two cores, 1024 patches, 12 categories).
        index = used.permute(2, 0, 1).reshape(-1)
        rows = probabilities.flatten(0, 1)
        for _ in range(settings.rounds):
            rows = rows.index_select(0, index).reshape(settings.neighbours, -1, rows.shape[1]).mean(dim=0)
        return per_picture(rows, self.patches)


def per_picture(rows: Tensor, count: int) -> Tensor:
    """``[B * count, D]`` -> ``[B, count, D]``."""
    return rows.reshape(-1, count, rows.shape[-1])
