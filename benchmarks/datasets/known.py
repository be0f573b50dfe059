"""The known sets: their classes, their label values, what is usually evaluated, and what has to be said with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.datasets.layouts import (
    COCO_PLACES,
    Finder,
    find_ade20k,
    find_camvid,
    find_cityscapes,
    find_cocostuff,
    find_context,
    find_voc,
)
from benchmarks.datasets.picture_set import LabelledPicture, PictureSet
from benchmarks.datasets.values import LabelValues, detect
from ifseg_rt.errors import UsageError

NAMES = Path(__file__).parents[1] / "names"


@dataclass(frozen=True)
class KnownSet:
    """One of the known sets.

    Attributes:
        title: for tables.
        expected: how it lies on disk.
        find: finds the files.
        split: the part that is usually evaluated.
        facts: key of its classes in ``names/classes.json``.
        note: what has to be said with every figure.
    """

    title: str
    expected: str
    find: Finder
    split: str
    facts: str
    note: str = ""


_VOC = "VOCdevkit/VOC2012/{JPEGImages,SegmentationClass,ImageSets/Segmentation}"
_CONTEXT = "VOCdevkit/VOC2010/{JPEGImages,SegmentationClassContext,ImageSets/SegmentationContext}"
KNOWN: dict[str, KnownSet] = {
    "camvid": KnownSet("CamVid", "CamVid/{test,testannot}", find_camvid, "test", "camvid"),
    "voc": KnownSet(
        "PASCAL VOC 2012", _VOC, find_voc, "val", "voc", "20 classes: pixels of the background are not counted."
    ),
    "voc21": KnownSet("PASCAL VOC 2012", _VOC, find_voc, "val", "voc", "21 classes: the background is one of them."),
    "context": KnownSet(
        "PASCAL Context", _CONTEXT, find_context, "val", "context", "59 classes: the background is not counted."
    ),
    "context60": KnownSet(
        "PASCAL Context", _CONTEXT, find_context, "val", "context", "60 classes: the background is one of them."
    ),
    "ade20k": KnownSet("ADE20K", "ADEChallengeData2016/{images,annotations}/validation", find_ade20k, "val", "ade20k"),
    "cocostuff": KnownSet("COCO-Stuff 164k", COCO_PLACES, find_cocostuff, "val", "cocostuff"),
    "cocostuff-unseen": KnownSet(
        "COCO-Stuff 164k, 15 unseen classes",
        COCO_PLACES,
        find_cocostuff,
        "val",
        "cocostuff",
        "This is the published 15-way task: the model knows only these 15 classes and pixels of the other 156 are not "
        "counted. It says nothing about telling them from the rest.",
    ),
    "cityscapes": KnownSet("Cityscapes", "{leftImg8bit,gtFine}/val/CITY", find_cityscapes, "val", "cityscapes"),
}


def open_known(name: str, root: Path, *, split: str | None = None, labels: str = "auto") -> PictureSet:
    """Open a known set.

    Args:
        name: a key of :data:`KNOWN`.
        root: the folder it lies in, at any usual depth.
        split: ``None`` for the one that is usually evaluated.
        labels: ``auto``, ``raw`` or ``converted``.

    Raises:
        SourceError: files are missing, or their values are not the set's.
        UsageError: there are no such labels for this set.
    """
    known = KNOWN[name]
    kinds = [kind for kind in _values(name) if labels in ("auto", kind.kind)]
    if not kinds:
        raise UsageError(f"--labels {labels}: {name} has only one kind of labels")
    found = known.find(root, split or known.split, labels)
    if found.kind is not None and labels == "auto":
        kinds = [kind for kind in kinds if kind.kind == found.kind]
    values, title = detect([pair.label for pair in found.pairs], kinds)
    names_file = NAMES / f"{name}.txt"
    return PictureSet(
        name=name if split in (None, known.split) else f"{name} {split}",
        categories=class_names(name),
        items=tuple(LabelledPicture(pair.name, pair.picture, pair.label, values) for pair in found.pairs),
        labels=title,
        note=known.note,
        names_file=names_file,
    )


def class_names(name: str) -> tuple[str, ...]:
    """Return the set's own class names in label order."""
    facts = _facts(name)
    classes: list[str] = facts["classes"]
    if name == "voc":
        return tuple(classes[1:])
    if name == "context60":
        return ("background", *classes)
    if name == "cocostuff-unseen":
        return tuple(classes[index] for index in facts["unseen"])
    return tuple(classes)


def one_based(classes: int, *, title: str, also_ignored: Sequence[int] = ()) -> LabelValues:
    """Return the values 1 .. classes for the classes and 0 for what is not counted."""
    return LabelValues.of(title, {value: value - 1 for value in range(1, classes + 1)}, ignored=(0, *also_ignored))


def _values(name: str) -> list[LabelValues]:
    """The kinds of label values in use for a set, as distributed first."""
    facts = _facts(name)
    if name == "camvid":
        plain = {value: value for value in range(11)}
        return [LabelValues.of("label values 0..10, and 11 for unlabelled", plain, ignored=(11, 255))]
    if name == "voc":
        return [one_based(20, title="label values 0..20, and 255 for borders", also_ignored=(255,))]
    if name == "voc21":
        return [LabelValues.of("label values 0..20, and 255 for borders", {value: value for value in range(21)})]
    if name == "context":
        return [one_based(59, title="label values 0..59", also_ignored=(255,))]
    if name == "context60":
        return [LabelValues.of("label values 0..59", {value: value for value in range(60)})]
    if name == "ade20k":
        plain = {value: value for value in range(150)}
        return [
            one_based(150, title="label values 0..150 as released, 0 for other objects"),
            LabelValues.of("label values 0..149 converted, 255 for other objects", plain, kind="converted"),
        ]
    raw: list[int] = facts["raw_values"]
    order = {value: index for index, value in enumerate(raw)}
    train = {index: index for index in range(len(raw))}
    if name == "cityscapes":
        others = [value for value in (*range(34), 255) if value not in order]
        return [
            LabelValues.of("label ids 0..33", order, ignored=others),
            LabelValues.of("train ids 0..18, and 255 for the rest", train, kind="converted"),
        ]
    kinds = [
        LabelValues.of("label values 0..181 as released, 255 for unlabelled", order),
        LabelValues.of("train ids 0..170, 255 for unlabelled", train, kind="converted"),
    ]
    return [kind.regrouped(facts["unseen"]) for kind in kinds] if name == "cocostuff-unseen" else kinds


@cache
def _all_facts() -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((NAMES / "classes.json").read_text(encoding="utf-8"))
    return facts


def _facts(name: str) -> dict[str, Any]:
    facts: dict[str, Any] = _all_facts()[KNOWN[name].facts]
    return facts
