"""Readers of labelled pictures: each yields a BGR picture and a map of class indices, whatever the files look like.

A reader is anything with the :class:`Dataset` members, so another layout (VOC, ADE20K, COCO-Stuff, Cityscapes) is one
more class here and nothing else changes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ifseg_rt.errors import SourceError

IGNORED = -1
"""Class index of pixels that no measurement counts."""

_PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class LabelledPicture:
    """One picture and its truth; both are read from disk on demand."""

    name: str
    picture_path: Path
    label_path: Path
    class_of_value: NDArray[np.int16]

    def picture(self) -> NDArray[np.uint8]:
        """Read the picture.

        Returns:
            uint8 ``[H, W, 3]`` in OpenCV's BGR order.

        Raises:
            SourceError: the file cannot be decoded.
        """
        picture = cv2.imread(str(self.picture_path), cv2.IMREAD_COLOR)
        if picture is None:
            raise SourceError(f"cannot decode the picture {self.picture_path}")
        return picture.astype(np.uint8, copy=False)

    def truth(self) -> NDArray[np.int16]:
        """Read the labels as class indices.

        Returns:
            int16 ``[H, W]``: 0 .. classes-1, or :data:`IGNORED`.

        Raises:
            SourceError: the file is no single-channel 8-bit picture, or its size is not the picture's.
        """
        from PIL import Image  # keeps palette PNGs as indices, which OpenCV would expand to colours

        with Image.open(self.label_path) as file:
            if file.mode not in ("L", "P"):
                raise SourceError(f"{self.label_path} has mode {file.mode}; labels are 8-bit indices (mode L or P)")
            values = np.asarray(file, dtype=np.uint8)
        return self.class_of_value[values]


class Dataset(Protocol):
    """What the measurements need of a set of labelled pictures."""

    name: str
    categories: tuple[str, ...]

    def pictures(self, limit: int | None = None) -> Sequence[LabelledPicture]:
        """Return the pictures in a stable order, evenly thinned to ``limit``."""
        ...


class LabelledImages:
    """A folder of ``images/*.jpg``, ``labels/*.png`` (8-bit class values) and ``meta.json``.

    ``images`` and ``labels`` lie in the folder itself or in its sub-folders (``train``, ...); all splits
    found are read, so name the sub-folder to read only one. ``meta.json`` lies in the folder or in its parent:
    ``{"classes": {"0": "sky", ...}, "ignore": 255}``. Classes are numbered by ascending label value, gaps allowed;
    values that are not listed are ignored like the ignore value.

    Args:
        root: the folder.

    Raises:
        SourceError: no ``meta.json``, no classes in it, no pictures, or pictures without labels.
    """

    def __init__(self, root: Path) -> None:
        meta_path = next((p for p in (root / "meta.json", root.parent / "meta.json") if p.is_file()), None)
        if meta_path is None:
            raise SourceError(
                f"{root} holds no meta.json",
                hint='expected images/*.jpg, labels/*.png and meta.json: {"classes": {"0": "sky", ...}, "ignore": 255}',
            )
        meta = json.loads(meta_path.read_text(encoding="utf-8"))
        classes = {int(value): str(name) for value, name in meta.get("classes", {}).items()}
        if not classes or min(classes) < 0 or max(classes) > 255:
            raise SourceError(f'{meta_path}: "classes" must map label values 0..255 to names')
        self.name = meta_path.parent.name
        self.categories = tuple(classes[value] for value in sorted(classes))
        self._class_of_value = np.full(256, IGNORED, np.int16)
        for index, value in enumerate(sorted(classes)):
            if value != meta.get("ignore"):
                self._class_of_value[value] = index
        self._pictures = self._find(root)

    def _find(self, root: Path) -> list[LabelledPicture]:
        folders = [root] if (root / "images").is_dir() else sorted(p.parent for p in root.glob("*/images"))
        found: list[LabelledPicture] = []
        for folder in folders:
            for path in sorted(p for p in (folder / "images").iterdir() if p.suffix.lower() in _PICTURE_SUFFIXES):
                label = folder / "labels" / f"{path.stem}.png"
                if not label.is_file():
                    raise SourceError(f"{path} has no labels: {label} is missing")
                found.append(LabelledPicture(path.stem, path, label, self._class_of_value))
        if not found:
            raise SourceError(f"no pictures under {root}", hint="expected images/*.jpg here or one folder below")
        return found

    def pictures(self, limit: int | None = None) -> list[LabelledPicture]:
        """Return the pictures ordered by split and name; with ``limit``, that many spread evenly over all of them."""
        if limit is None or limit >= len(self._pictures):
            return list(self._pictures)
        chosen = np.linspace(0, len(self._pictures) - 1, max(limit, 1)).round().astype(int)
        return [self._pictures[i] for i in chosen]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the names and sizes of all files, to tell two copies of a set apart in stored results."""
        digest = hashlib.sha256()
        for item in self._pictures:
            for path in (item.picture_path, item.label_path):
                digest.update(f"{path.name}:{path.stat().st_size}\n".encode())
        return digest.hexdigest()
