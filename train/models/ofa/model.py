"""IFSeg's segmentation path through OFA: pictures, or maps of words, to category logits per patch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ifseg_rt.errors import VocabularyError
from train.models.base import SegmentationModel
from train.models.ofa.config import ModelConfig
from train.models.ofa.decoder import Decoder
from train.models.ofa.encoder import Encoder
from train.models.ofa.positions import Grid

BOS_ID = 0
_FROZEN_PREFIXES = ("encoder.embed_tokens.", "encoder.embed_images.", "encoder.image_proj.")


class IFSegModel(SegmentationModel):
    """Encoder, decoder and a classifier tied to the embeddings of the category names.

    Tensors that come from files carry fairseq's names (spec 12.1); the vocabulary lives in two buffers that are
    not part of the state dict, because it is derived from the embedding table (spec 3).
    """

    method = "ifseg"
    config: ModelConfig

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.register_buffer("prompt_ids", torch.zeros(0, dtype=torch.long), persistent=False)
        self.register_buffer("category_embedding", torch.zeros(0, config.d_model), persistent=False)

    def set_vocabulary(self, prompt_ids: Sequence[int], category_ids: Sequence[Sequence[Sequence[int]]]) -> None:
        """Sets prompt and categories.

        Args:
            prompt_ids: the whole prompt with bos and eos (spec 2).
            category_ids: per category one list of token ids per name; names are averaged (spec 3).

        Raises:
            VocabularyError: nothing to classify, or a prompt longer than the position tables.
        """
        if not category_ids or any(not names or any(not ids for ids in names) for names in category_ids):
            raise VocabularyError("a vocabulary needs at least one category and a token for every name")
        limit = self.config.max_prompt_tokens
        if len(prompt_ids) > limit:
            raise VocabularyError(
                f"the prompt has {len(prompt_ids)} tokens for {len(category_ids)} categories, the model's position "
                f"tables reach to {limit}",
                hint="use fewer or shorter category names",
            )
        table = self.encoder.embed_tokens.weight
        self.prompt_ids = torch.tensor(list(prompt_ids), dtype=torch.long, device=table.device)
        rows = []
        with torch.no_grad():
            for names in category_ids:
                means = [table[torch.tensor(list(ids), device=table.device)].mean(dim=0) for ids in names]
                rows.append(torch.stack(means).mean(dim=0))
            self.category_embedding = torch.stack(rows)

    def features(self, images: Tensor) -> Tensor:
        """Backbone features before projection, the space of the neighbour search: ``[B, Cf, h, w]``."""
        out: Tensor = self.encoder.embed_images(images)
        return out

    def project(self, features: Tensor) -> Tensor:
        """Features ``[B, Cf, h, w]`` -> patch embeddings ``[B, n, D]`` before type and norm."""
        out: Tensor = self.encoder.image_proj(features.flatten(2).transpose(1, 2))
        return out

    def states(self, patches: Tensor, grid: Grid, prompt_ids: Tensor) -> Tensor:
        """Patch embeddings ``[B, n, D]`` -> decoder states ``[B, n + 1, D]`` under a prompt ``[L]``."""
        positions = self.encoder.positions(grid, len(prompt_ids))
        memory = self.encoder(patches, prompt_ids, self.encoder.layer_biases(positions, grid, len(prompt_ids)))
        self_biases = self.decoder.self_biases(grid)
        mask = self.decoder.causal_mask(grid)
        if mask is not None:
            self_biases = [bias + mask for bias in self_biases]
        bos = self.encoder.embed_tokens.weight[BOS_ID]
        out: Tensor = self.decoder(bos, memory, patches.shape[1], self_biases, self.decoder.cross_bias(grid, positions))
        return out

    def all_logits(self, patches: Tensor, grid: Grid) -> Tensor:
        """Logits of every decoder row ``[B, n + 1, C]``, the extra (eos or bos) row included."""
        if not len(self.category_embedding):
            raise VocabularyError("the model has no categories yet", hint="call set_vocabulary or load with categories")
        return torch.matmul(self.states(patches, grid, self.prompt_ids), self.category_embedding.t())

    def patch_rows(self, rows: Tensor) -> Tensor:
        """Of ``[B, n + 1, ...]`` decoder rows the ``n`` that predict patches."""
        start = self.config.readout_offset
        return rows[:, start : start + rows.shape[1] - 1]

    def score(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`train.models.base.SegmentationModel.score`; ``h = ceil(H/16)``, likewise ``w``."""
        features = self.features(images)
        grid = (features.shape[2], features.shape[3])
        return self.patch_rows(self.all_logits(self.project(features), grid)), features

    def forward_artificial(self, category_map: Tensor) -> Tensor:
        """See :meth:`train.models.base.SegmentationModel.forward_artificial`."""
        grid = (category_map.shape[1], category_map.shape[2])
        patches = self.category_embedding[category_map.flatten(1)]
        return self.patch_rows(self.all_logits(patches, grid))

    def freeze_for_adaptation(self) -> None:
        """Freezes the embedding table, the backbone and the feature projection (spec 11.3)."""
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(not name.startswith(_FROZEN_PREFIXES))
