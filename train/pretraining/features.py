"""Backbone features of the pre-training pictures, computed once: the backbone is frozen, so all training runs on them.

About 15 000 crops of 768 patches x 568 channels in float16 take 13 GB; they are memory-mapped from a scratch folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.models.ofa.efficientnet import JOINED_DIM, EfficientNetLite2
from train.pretraining.data import (
    GRID,
    IGNORE,
    TOP_LABELS,
    Picture,
    PretrainSet,
    patch_labels,
    random_crop,
    read_picture,
)
from train.pretraining.imagenet_trunk import classifier, folded_trunk, package_weights

PATCHES = GRID[0] * GRID[1]
BATCH = 8
# One whole view of every picture and random crops: labelled pictures three, photos one.
LABELLED_CROPS, PHOTO_CROPS = 3, 1
_STRIDE_32 = slice(JOINED_DIM - 352, JOINED_DIM)


@dataclass(frozen=True)
class FeatureSet:
    """Features ``[N, 768, 568]`` float16 (memory-mapped), labels int16 and shares float16 ``[N, 768, 3]``."""

    features: NDArray[np.float16]
    labels: NDArray[np.int16]
    shares: NDArray[np.float16]


def _views(pictures: Sequence[Picture], crops: int) -> Iterator[tuple[Picture, bool]]:
    for turn in range(1 + crops):
        for picture in pictures:
            yield picture, turn == 0


def extract(
    pictures: Sequence[Picture], crops: int, groups: int, folder: Path, name: str, report: Callable[[int, int], None]
) -> FeatureSet:
    """Computes (or reuses) the features of one list of pictures under ``folder/name.*``."""
    count = len(pictures) * (1 + crops)
    feature_path, label_path, done = folder / f"{name}_f.npy", folder / f"{name}_l.npz", folder / f"{name}.json"
    stamp = {"views": count, "groups": groups, "pictures": [p.image.name for p in pictures]}
    if done.exists() and json.loads(done.read_text(encoding="utf-8")) == stamp:
        stored = np.load(label_path)
        return FeatureSet(np.load(feature_path, mmap_mode="r"), stored["lab"], stored["sh"])
    trunk = EfficientNetLite2().eval()
    trunk.load_state_dict(folded_trunk(package_weights()), strict=False)
    # 1.5 times as fast on a CPU. PyTorch takes it; its annotations leave it out.
    trunk = trunk.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    features = np.lib.format.open_memmap(feature_path, "w+", np.float16, (count, PATCHES, JOINED_DIM))
    labels = np.full((count, PATCHES, TOP_LABELS), IGNORE, np.int16)
    shares = np.zeros((count, PATCHES, TOP_LABELS), np.float16)
    rng = np.random.default_rng(0)
    pending: list[NDArray[np.uint8]] = []
    for index, (picture, whole) in enumerate(_views(pictures, crops)):
        image, group_map = random_crop(*read_picture(picture), rng, whole=whole)
        if group_map is not None:
            labels[index], shares[index] = patch_labels(group_map, groups)
        pending.append(image)
        if len(pending) == BATCH or index == count - 1:
            stop = index + 1
            features[stop - len(pending) : stop] = _run(trunk, np.stack(pending))
            pending.clear()
            report(stop, count)
    if pictures and pictures[0].label is None:
        groups_of_views = [(p.groups[0], p.groups[1]) for p, _ in _views(pictures, crops)]
        for start in range(0, count, 64):
            span = slice(start, min(start + 64, count))
            labels[span, :, 0], shares[span, :, 0] = _class_activation(features[span], groups_of_views[span])
    features.flush()
    np.savez(label_path, lab=labels, sh=shares)
    done.write_text(json.dumps(stamp), encoding="utf-8")
    return FeatureSet(features, labels, shares)


def _run(trunk: EfficientNetLite2, pictures: NDArray[np.uint8]) -> NDArray[np.float16]:
    images = torch.from_numpy((pictures.astype(np.float32) - 127) / 128).permute(0, 3, 1, 2)
    # bfloat16 is 2.7 times as fast here, and its rounding (0.4 %) is far below the crops' variation.
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        out: Tensor = trunk.joined(images.contiguous(memory_format=torch.channels_last))
    return out.float().flatten(2).transpose(1, 2).half().numpy()


_weights_cache: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []


def _class_activation(
    features: NDArray[np.float16], classes: Sequence[tuple[int, int]]
) -> tuple[NDArray[np.int16], NDArray[np.float16]]:
    """Patches of a photo that show its class: the ImageNet classifier, applied to every patch, ranks the class among
    its first five of a thousand there and gives it at least 60 % of the class's strongest response in the photo."""
    if not _weights_cache:
        _weights_cache.append(classifier(package_weights()))
    head, head_bias, fc, fc_bias = _weights_cache[0]
    with torch.inference_mode():
        x = torch.from_numpy(np.asarray(features[..., _STRIDE_32], np.float32))
        scores = (x @ head.t() + head_bias).clamp(0, 6) @ fc.t() + fc_bias
        own = torch.stack([scores[i, :, index] for i, (_, index) in enumerate(classes)])
        among_best = own >= scores.topk(5, dim=-1).values[..., -1]
        chosen = (among_best & (own >= 0.6 * own.amax(dim=1, keepdim=True)) & (own > 0)).numpy()
    group = np.asarray([g for g, _ in classes], np.int16)[:, None]
    return np.where(chosen, group, IGNORE).astype(np.int16), chosen.astype(np.float16)


def extract_all(
    pictures: PretrainSet, folder: Path, report: Callable[[str, int, int], None]
) -> tuple[FeatureSet, FeatureSet, FeatureSet]:
    """Features of the training, held-out and photo lists."""
    count = len(pictures.groups)
    folder.mkdir(parents=True, exist_ok=True)
    train = extract(pictures.train, LABELLED_CROPS, count, folder, "train", lambda i, n: report("train", i, n))
    held = extract(pictures.held_out, 0, count, folder, "held", lambda i, n: report("held out", i, n))
    photos = extract(pictures.photos, PHOTO_CROPS, count, folder, "photos", lambda i, n: report("photos", i, n))
    return train, held, photos
