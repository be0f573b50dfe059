"""Pre-training pictures: random crops with the words of every patch, from the folders of research data.

A sample is a crop resized to ``CROP`` (384 x 512) and, for each of its 24 x 32 patches, the up to three most frequent
labels with their share of the patch. Labels are indices into :attr:`PretrainSet.groups`, sets of words.
CamVid is not among the folders: it measures the transfer and is never trained or tuned on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ifseg_rt.errors import SourceError
from train.pretraining import word_lists as words

CROP = (384, 512)
PATCH = 16
GRID = (CROP[0] // PATCH, CROP[1] // PATCH)
TOP_LABELS = 3
IGNORE = -1
HOLD_OUT_EVERY = 12  # every 12th labelled picture measures, never trains


@dataclass(frozen=True)
class Picture:
    """One picture and how to read its labels; ``label`` is ``None`` for a photo known by its class alone."""

    image: Path
    label: Path | None
    source: str
    groups: tuple[int, ...]  # label value -> group index (IGNORE where none); one entry for photos


@dataclass(frozen=True)
class PretrainSet:
    """All pictures, the sets of words their labels mean, and the words in token order."""

    train: tuple[Picture, ...]
    held_out: tuple[Picture, ...]
    photos: tuple[Picture, ...]
    groups: tuple[tuple[str, ...], ...]

    @property
    def words(self) -> tuple[str, ...]:
        """Every word once, in the order of first mention."""
        return tuple(dict.fromkeys(w for group in self.groups for w in group))


def _coco_table(folder: Path) -> dict[int, tuple[str, ...]]:
    classes = json.loads((folder / "meta.json").read_text(encoding="utf-8"))["classes"]
    return {int(value): words.coco_words(name) for value, name in classes.items()}


def collect(root: Path) -> PretrainSet:
    """Lists the pictures of ``root`` (the ``data`` folder with ``msrc_v2``, ``labelme_facade``, ...)."""
    tables = {
        "msrc_v2": words.MSRC,
        "labelme_facade": words.LABELME_FACADE,
        "idd_lite": words.IDD_LITE,
        "coco_panoptic200": _coco_table(root / "coco_panoptic200"),
    }
    groups: dict[tuple[str, ...], int] = {}
    train: list[Picture] = []
    held_out: list[Picture] = []
    for source, table in tables.items():
        values = [IGNORE] * 256
        for value, names in table.items():
            values[value] = groups.setdefault(names, len(groups))
        if source == "coco_panoptic200":  # a person on a bicycle or motorcycle, made in _refine_coco
            values[words.IDD_CYCLIST + 220] = groups.setdefault(("cyclist", "person"), len(groups))
        for index, label in enumerate(sorted((root / source).glob("*/labels/*.png"))):
            image = label.parent.parent / "images" / (label.stem + ".jpg")
            picture = Picture(image, label, source, tuple(values))
            (held_out if index % HOLD_OUT_EVERY == 0 else train).append(picture)
    photos: list[Picture] = []
    seen: set[str] = set()
    for index, image in enumerate(sorted((root / "imagenet_words" / "images").glob("*.jpg"))):
        names = words.imagenet_words(index, image.stem.split("_", 1)[1])
        if names[0] in seen:  # ImageNet names two classes "crane" and two "maillot"
            continue
        seen.add(names[0])
        photos.append(Picture(image, None, "imagenet_words", (groups.setdefault(names, len(groups)), index)))
    return PretrainSet(tuple(train), tuple(held_out), tuple(photos), tuple(groups))


def _run_lengths(mask: NDArray[np.bool_], axis: int) -> NDArray[np.int32]:
    """For every true pixel the length of the run of true pixels through it along ``axis``."""
    lines = mask if axis == 1 else mask.T
    out = np.zeros(lines.shape, np.int32)
    for row, line in enumerate(lines):
        edges = np.flatnonzero(np.diff(np.concatenate(([0], line.view(np.int8), [0]))))
        for start, stop in zip(edges[::2], edges[1::2], strict=True):
            out[row, start:stop] = stop - start
    return out if axis == 1 else out.T


def _touching(
    mask: NDArray[np.bool_], other: NDArray[np.bool_], max_ratio: float
) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Pairs (component of ``mask``, component of ``other``) that touch and are of comparable width."""
    pairs = []
    count, components, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    _, other_components, other_stats, _ = cv2.connectedComponentsWithStats(other.astype(np.uint8))
    for index in range(1, count):
        if stats[index, cv2.CC_STAT_AREA] < 40:
            continue
        region = components == index
        near = cv2.dilate(region.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool) & other
        for touched in np.unique(other_components[near]):
            if touched and other_stats[touched, cv2.CC_STAT_WIDTH] <= max_ratio * stats[index, cv2.CC_STAT_WIDTH]:
                pairs.append((region, other_components == touched))
    return pairs


def _refine_idd(label: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Splits IDD-lite's mixed classes by shape: thin upright pieces of class 4 are poles (at 320 pixels width a
    pole is at most 7 wide and at least 3 times as tall); people of class 2 who touch a vehicle no wider than
    1.8 times themselves ride it."""
    out: NDArray[np.uint8] = label.copy()
    roadside = label == 4
    across, down = _run_lengths(roadside, 1), _run_lengths(roadside, 0)
    out[roadside & (across <= 7) & (down >= 3 * across) & (down >= 12)] = words.IDD_POLE
    for rider, vehicle in _touching(label == 2, label == 3, 1.8):
        out[rider] = words.IDD_CYCLIST
        out[vehicle] = words.IDD_TWO_WHEELER
    return out


def _refine_coco(label: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """People who touch a bicycle (2) or motorcycle (4) of comparable width may be called cyclists."""
    out: NDArray[np.uint8] = label.copy()
    for rider, _ in _touching(label == 1, (label == 2) | (label == 4), 3.0):
        out[rider] = words.IDD_CYCLIST + 220
    return out


def read_picture(picture: Picture) -> tuple[NDArray[np.uint8], NDArray[np.int16] | None]:
    """RGB image ``[H, W, 3]`` and group index per pixel (``IGNORE`` where unlabelled), or ``None`` for photos.

    Raises:
        SourceError: a file cannot be read as a picture.
    """
    image: NDArray[Any] = cv2.cvtColor(_pixels(picture.image, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    if picture.label is None:
        return image, None
    label = _pixels(picture.label, cv2.IMREAD_UNCHANGED)
    if picture.source == "idd_lite":
        label = _refine_idd(label)
    elif picture.source == "coco_panoptic200":
        label = _refine_coco(label)
    if label.shape != image.shape[:2]:
        label = cv2.resize(label, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return image, np.asarray(picture.groups, np.int16)[label]


def _pixels(path: Path, flags: int) -> NDArray[Any]:
    found: NDArray[Any] | None = cv2.imread(str(path), flags)
    if found is None:
        raise SourceError(f"cannot read {path} as a picture")
    return found


def random_crop(
    image: NDArray[np.uint8], groups: NDArray[np.int16] | None, rng: np.random.Generator, *, whole: bool
) -> tuple[NDArray[np.uint8], NDArray[np.int16] | None]:
    """A crop resized to ``CROP``: the whole picture, or a random window of 25 to 100 % of its area with the shape
    jittered by 4/3, mirrored half the time, with brightness, contrast and colour varied by up to 30 %."""
    if not whole:
        height, width = image.shape[:2]
        area, shape = rng.uniform(0.25, 1.0), np.exp(rng.uniform(-0.29, 0.29))
        h = int(np.clip(height * np.sqrt(area) * shape, 64, height))
        w = int(np.clip(width * np.sqrt(area) / shape, 64, width))
        top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
        image = image[top : top + h, left : left + w]
        groups = None if groups is None else groups[top : top + h, left : left + w]
        if rng.random() < 0.5:
            image = image[:, ::-1]
            groups = None if groups is None else groups[:, ::-1]
    resized: NDArray[Any] = cv2.resize(np.ascontiguousarray(image), CROP[::-1], interpolation=cv2.INTER_LINEAR)
    cropped: NDArray[Any] | None = None
    if groups is not None:
        cropped = cv2.resize(np.ascontiguousarray(groups), CROP[::-1], interpolation=cv2.INTER_NEAREST)
    if not whole:
        pixels = resized.astype(np.float32)
        grey = pixels.mean(axis=2, keepdims=True)
        pixels = grey + (pixels - grey) * rng.uniform(0.5, 1.4)
        pixels = (pixels - 127) * rng.uniform(0.7, 1.3) + 127 + rng.uniform(-35, 35)
        resized = (pixels * rng.uniform(0.9, 1.1, 3)).clip(0, 255).astype(np.uint8)
    return resized, cropped


def patch_labels(groups: NDArray[np.int16], count: int) -> tuple[NDArray[np.int16], NDArray[np.float16]]:
    """The ``TOP_LABELS`` most frequent groups of each patch ``[768, 3]`` and their shares of the patch."""
    height, width = GRID
    count = max(count, TOP_LABELS)
    blocks = groups.reshape(height, PATCH, width, PATCH).transpose(0, 2, 1, 3).reshape(height * width, -1)
    offsets = np.arange(len(blocks))[:, None] * (count + 1)
    histogram = np.bincount((blocks + 1 + offsets).ravel(), minlength=len(blocks) * (count + 1))
    histogram = histogram.reshape(len(blocks), count + 1)[:, 1:]
    order = np.argsort(-histogram, axis=1, kind="stable")[:, :TOP_LABELS]
    shares = np.take_along_axis(histogram, order, axis=1) / float(PATCH * PATCH)
    return np.where(shares > 0, order, IGNORE).astype(np.int16), shares.astype(np.float16)
