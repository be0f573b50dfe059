"""The two stages of pre-training ``micro`` on cached features: words for patches, then the whole model.

Stage 1 teaches projection and embedding table one space: the cosine between a projected patch and a word. Stage 2
trains encoder and decoder (and goes on with the projection) under random category lists, so that the model reads its
prompt, on labelled pictures mixed with the artificial images that adaptation uses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.models.ofa.efficientnet import EfficientNetLite2
from train.models.ofa.encoder import IMAGE_TYPE
from train.models.ofa.model import IFSegModel
from train.pretraining.data import GRID
from train.pretraining.features import FeatureSet
from train.pretraining.loss import group_weights, membership, set_loss

FIRST_WORD_ID = 4  # bos, pad, eos, unknown come first
BOS, EOS, UNKNOWN = 0, 2, 3
COSINE_SCALE = 14.0
_WINDOWS = ((12, 16), (16, 24), (18, 24), (24, 16), (24, 32))
_WINDOW_ODDS = (0.2, 0.3, 0.2, 0.15, 0.15)
_PHOTO_STEPS = 0.15  # share of steps on photos, which teach the thousand object names
_LONGEST_PROMPT = 80
_EARLY_SCALE = 0.05  # stage 1 has trained these; they follow slowly
_SWAPS = 5

Report = Callable[[int, int, float], None]


@dataclass(frozen=True)
class Stage:
    """Length and step size of one stage."""

    steps: int
    lr: float
    weight_decay: float = 0.05
    warm_up: int = 50


class WordSpace:
    """Which words exist, and which of them compete for the patches of labelled pictures and of photos."""

    def __init__(self, groups: Sequence[Sequence[str]], labelled_groups: set[int], words: Sequence[str]) -> None:
        self.groups = groups
        self.words = list(words)
        self.id_of = {word: FIRST_WORD_ID + i for i, word in enumerate(self.words)}
        labelled = {w for g in labelled_groups for w in groups[g]}
        self.labelled = [w for w in self.words if w in labelled]

    def ids(self, words: Sequence[str]) -> Tensor:
        return torch.tensor([self.id_of[w] for w in words])


def schedule(step: int, stage: Stage) -> float:
    """Linear warm-up, then cosine to 0."""
    if step < stage.warm_up:
        return stage.lr * (step + 1) / stage.warm_up
    return 0.5 * stage.lr * (1 + math.cos(math.pi * (step - stage.warm_up) / max(stage.steps - stage.warm_up, 1)))


def cosine_logits(model: IFSegModel, features: Tensor, word_ids: Tensor) -> Tensor:
    """Stage-1 logits ``[N, C]`` of backbone features ``[N, Cf]`` against words."""
    encoder = model.encoder
    image_type = encoder.type_embedding.weight[IMAGE_TYPE]
    patches = encoder.patch_layernorm_embedding(encoder.image_proj(features) + image_type)
    words = encoder.patch_layernorm_embedding(encoder.embed_tokens(word_ids) + image_type)
    return COSINE_SCALE * F.normalize(patches, dim=-1) @ F.normalize(words, dim=-1).t()


def neck_features(model: IFSegModel, joined: Tensor, *, vary: bool) -> Tensor:
    """Backbone features ``[..., 384]`` of cached channels ``[..., 568]``; ``vary`` adds noise and drops channels."""
    backbone = trunk_of(model)
    rows = backbone.standardise(joined)
    if vary:
        rows = F.dropout(rows + 0.1 * torch.randn_like(rows), 0.1)
    out: Tensor = backbone.neck(rows)
    return out


def trunk_of(model: IFSegModel) -> EfficientNetLite2:
    """The backbone, which pre-training knows to be EfficientNet-Lite2."""
    backbone = model.encoder.embed_images
    if not isinstance(backbone, EfficientNetLite2):
        raise TypeError(f"pre-training is for the EfficientNet-Lite2 backbone, found {type(backbone).__name__}")
    return backbone


def sample_rows(data: FeatureSet, rng: np.random.Generator, views: int, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Random patches: features ``[views * rows, Cf]`` float32, labels and shares ``[.., 3]``."""
    features, labels, shares = [], [], []
    for view in rng.choice(len(data.features), views, replace=False):
        labelled = np.flatnonzero(data.labels[view, :, 0] >= 0)
        if not len(labelled):
            continue
        pick = rng.choice(labelled, rows)
        features.append(np.asarray(data.features[view])[pick])
        labels.append(data.labels[view][pick])
        shares.append(data.shares[view][pick])
    return (
        torch.from_numpy(np.concatenate(features)).float(),
        torch.from_numpy(np.concatenate(labels)).long(),
        torch.from_numpy(np.concatenate(shares)).float(),
    )


def measure_channels(model: IFSegModel, data: FeatureSet, rng: np.random.Generator, views: int = 400) -> None:
    """Sets ``feature_shift`` and ``feature_scale`` from 64 patches of each of some random views."""
    chosen = rng.choice(len(data.features), views)
    rows = [np.asarray(data.features[v])[rng.choice(data.features.shape[1], 64)] for v in chosen]
    sample = torch.from_numpy(np.concatenate(rows)).float()
    backbone = trunk_of(model)
    backbone.feature_shift.copy_(sample.mean(dim=0))
    backbone.feature_scale.copy_(1 / sample.std(dim=0).clamp_min(1e-3))


def word_weights(data: FeatureSet, groups: int) -> Tensor:
    """Weight per group from the whole views (the first quarter), see :func:`group_weights`."""
    count = len(data.labels) // 4
    return group_weights(torch.from_numpy(data.labels[:count]).long(), torch.from_numpy(data.shares[:count]), groups)


def stage_one(
    model: IFSegModel, space: WordSpace, data: FeatureSet, photos: FeatureSet, stage: Stage, seed: int, report: Report
) -> None:
    """Trains neck, projection, patch norm and word table with the set loss on cosine logits."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    encoder = model.encoder
    trained = [trunk_of(model).neck, encoder.image_proj, encoder.patch_layernorm_embedding, encoder.embed_tokens]
    parameters = [p for m in trained for p in m.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=stage.lr, weight_decay=stage.weight_decay)
    weights = word_weights(data, len(space.groups))
    uniform = torch.ones_like(weights)
    uniform[-1] = 0
    labelled_ids, all_ids = space.ids(space.labelled), space.ids(space.words)
    labelled_members = membership(space.groups, space.labelled)
    all_members = membership(space.groups, space.words)
    for step in range(stage.steps):
        for group in optimiser.param_groups:
            group["lr"] = schedule(step, stage)
        joined, labels, shares = sample_rows(data, rng, 64, 96)
        logits = cosine_logits(model, neck_features(model, joined, vary=True), labelled_ids)
        loss = set_loss(logits, labels, shares, labelled_members, weights)
        joined, labels, shares = sample_rows(photos, rng, 48, 12)
        logits = cosine_logits(model, neck_features(model, joined, vary=True), all_ids)
        loss = loss + 0.3 * set_loss(logits, labels, shares, all_members, uniform)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        report(step, stage.steps, loss.item())


def random_prompt(candidates: Sequence[str], present: Sequence[str], rng: np.random.Generator) -> list[str]:
    """A category list: most of the words present, and 3 to 30 other candidates, in random order."""
    keep = [w for w in present if rng.random() < 0.85] or list(present)
    others = [w for w in candidates if w not in set(present)]
    extra = rng.choice(len(others), min(int(rng.integers(3, 31)), len(others)), replace=False)
    chosen = [*keep, *(others[i] for i in extra)]
    return [chosen[i] for i in rng.permutation(len(chosen))]


def prompt_ids(space: WordSpace, words: Sequence[str]) -> Tensor:
    return torch.cat([torch.tensor([BOS]), space.ids(words), torch.tensor([UNKNOWN, EOS])])


def artificial_map(count: int, side: tuple[int, int], classes: int, rng: np.random.Generator) -> Tensor:
    """Random grids of categories, nearest-resized to ``side`` (spec 11.1): int64 ``[count, h, w]``."""
    maps = []
    for _ in range(count):
        h, w = rng.integers(1, 33, 2)
        grid = rng.integers(0, classes, (h, w))
        rows, columns = np.arange(side[0]) * h // side[0], np.arange(side[1]) * w // side[1]
        maps.append(grid[rows][:, columns])
    return torch.from_numpy(np.stack(maps))


def draw_window(
    data: FeatureSet, batch: int, rng: np.random.Generator
) -> tuple[tuple[int, int], Tensor, Tensor, Tensor]:
    """One window of the feature grid, cut from random views: grid, joined channels ``[B, n, 568]``, labels, shares.

    Windows are cheaper than whole views and vary the grid as cameras do. Small ones come in larger batches.
    """
    h, w = _WINDOWS[int(rng.choice(len(_WINDOWS), p=_WINDOW_ODDS))]
    count = max(batch * 384 // (h * w), 6)
    views = rng.choice(len(data.features), count, replace=False)
    top, left = rng.integers(GRID[0] - h + 1), rng.integers(GRID[1] - w + 1)
    index = (np.arange(top, top + h)[:, None] * GRID[1] + np.arange(left, left + w)).ravel()
    joined = torch.from_numpy(np.stack([data.features[v][index] for v in views])).float()
    labels = torch.from_numpy(data.labels[views][:, index]).long()
    return (h, w), joined, labels, torch.from_numpy(data.shares[views][:, index]).float()


def mix_windows(grid: tuple[int, int], tensors: Sequence[Tensor], rng: np.random.Generator) -> None:
    """Swaps rectangles between the pictures of a batch, in place, ``_SWAPS`` times; labels travel with features.

    The sets label different things in different places (and each looks like itself), so an attention over whole
    pictures learns which set it sees and what that set calls things; that does not carry over to other cameras.
    Collages of several sets leave it local evidence, neighbourhood and prompt.
    """
    h, w = grid
    for _ in range(_SWAPS):
        high, wide = int(rng.integers(2, h + 1)), int(rng.integers(2, w + 1))
        top, left = int(rng.integers(h - high + 1)), int(rng.integers(w - wide + 1))
        rows = np.arange(top, top + high)[:, None] * w + np.arange(left, left + wide)
        index = torch.from_numpy(rows.ravel())
        order = torch.from_numpy(rng.permutation(len(tensors[0])))
        for tensor in tensors:
            tensor[:, index] = tensor[order][:, index]


def stage_two(
    model: IFSegModel, space: WordSpace, data: FeatureSet, photos: FeatureSet, stage: Stage, seed: int, report: Report,
    batch: int = 12,
) -> None:  # fmt: skip
    """Trains everything but the trunk on windows of pictures, with artificial images mixed in."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    slow = [trunk_of(model).neck, model.encoder.image_proj, model.encoder.embed_tokens]
    early = [p for m in slow for p in m.parameters()]
    known = {id(p) for p in early}
    late = [
        p for name, p in model.named_parameters() if id(p) not in known and not name.startswith("encoder.embed_images.")
    ]
    optimiser = torch.optim.AdamW(
        [{"params": late, "scale": 1.0}, {"params": early, "scale": _EARLY_SCALE}],
        lr=stage.lr, weight_decay=stage.weight_decay,
    )  # fmt: skip
    weights = word_weights(data, len(space.groups))
    uniform = torch.ones_like(weights)
    uniform[-1] = 0
    for step in range(stage.steps):
        for group in optimiser.param_groups:
            group["lr"] = schedule(step, stage) * group["scale"]
        of_photos = rng.random() < _PHOTO_STEPS
        grid, joined, labels, shares = draw_window(photos if of_photos else data, batch, rng)
        mix_windows(grid, (joined, labels, shares), rng)
        present = sorted({word for g in labels[labels >= 0].unique().tolist() for word in space.groups[g]})
        words = random_prompt(space.words if of_photos else space.labelled, present, rng)[:_LONGEST_PROMPT]
        table = model.encoder.embed_tokens.weight[space.ids(words)]
        count = len(joined)
        drawn = artificial_map(max(count // 4, 1), grid, len(words), rng)
        patches = model.encoder.image_proj(neck_features(model, joined, vary=True))
        patches = torch.cat([patches, table[drawn.flatten(1)]])
        logits = model.patch_rows(model.states(patches, grid, prompt_ids(space, words))) @ table.t()
        loss = set_loss(
            logits[:count].flatten(0, 1), labels.flatten(0, 1), shares.flatten(0, 1),
            membership(space.groups, words), uniform if of_photos else weights,
        )  # fmt: skip
        loss = loss + 0.2 * F.cross_entropy(logits[count:].flatten(0, 1), drawn.flatten())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_([*late, *early], 1.0)
        optimiser.step()
        report(step, stage.steps, loss.item())
