"""The project's own layout of labelled pictures, into which any set is quickly brought."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.datasets.picture_set import LabelledPicture, PictureSet
from benchmarks.datasets.values import LabelValues
from ifseg_rt.errors import SourceError

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")
EXPECTED = 'expected images/*.jpg, labels/*.png and meta.json: {"classes": {"0": "sky", ...}, "ignore": 255}'


def open_folder(root: Path) -> PictureSet:
    """Open a folder of ``images/*.jpg``, ``labels/*.png`` (8-bit class values) and ``meta.json``.

    ``images`` and ``labels`` lie in the folder itself or in its sub-folders (``train``, ...); all splits found are
    read, so name the sub-folder to read only one. ``meta.json`` lies in the folder or in its parent:
    ``{"classes": {"0": "sky", ...}, "ignore": 255}``; ``ignore`` is a value or a list of values. Classes are numbered
    by ascending label value, gaps allowed; a value that is in neither is an error when it is met.

    Raises:
        SourceError: no ``meta.json``, no classes in it, no pictures, or pictures without labels.
    """
    meta_path = next((path for path in (root / "meta.json", root.parent / "meta.json") if path.is_file()), None)
    if meta_path is None:
        raise SourceError(f"{root} holds no meta.json", hint=EXPECTED)
    values, names = _read_meta(meta_path)
    return PictureSet(
        name=meta_path.parent.resolve().name,
        categories=names,
        items=tuple(_find(root, values)),
        labels=values.title,
    )


def _read_meta(path: Path) -> tuple[LabelValues, tuple[str, ...]]:
    try:
        meta: Any = json.loads(path.read_text(encoding="utf-8"))
        classes = {int(value): str(name) for value, name in meta["classes"].items()}
        ignored = meta.get("ignore", [])
        unused = {int(value) for value in (ignored if isinstance(ignored, list) else [ignored]) if value is not None}
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SourceError(f"{path} does not say which label values are which classes", hint=EXPECTED) from None
    counted = sorted(set(classes) - unused)
    if not counted or min(counted) < 0 or max(counted) > 255 or not unused <= set(range(256)):
        raise SourceError(f'{path}: "classes" must map label values 0..255 to names', hint=EXPECTED)
    order = {value: index for index, value in enumerate(counted)}
    title = f"the values of {path.name}: {', '.join(map(str, sorted(set(counted) | unused)))}"
    return LabelValues.of(title, order, ignored=sorted(unused)), tuple(classes[value] for value in counted)


def _find(root: Path, values: LabelValues) -> list[LabelledPicture]:
    folders = [root] if (root / "images").is_dir() else sorted(path.parent for path in root.glob("*/images"))
    found: list[LabelledPicture] = []
    for folder in folders:
        for path in sorted(p for p in (folder / "images").iterdir() if p.suffix.lower() in PICTURE_SUFFIXES):
            label = folder / "labels" / f"{path.stem}.png"
            if not label.is_file():
                raise SourceError(f"{path} has no labels: {label} is missing")
            found.append(LabelledPicture(path.stem, path, label, values))
    if not found:
        raise SourceError(f"no pictures under {root}", hint="expected images/*.jpg here or one folder below")
    return found
