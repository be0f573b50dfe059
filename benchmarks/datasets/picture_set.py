"""A set of labelled pictures, however its files lie: every picture in BGR and a map of class indices."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.values import LabelValues, read_values
from ifseg_rt.errors import SourceError


@dataclass(frozen=True)
class LabelledPicture:
    """One picture and its truth; both are read from disk on demand.

    Attributes:
        name: unique within the set.
        picture_path: the picture.
        label_path: its label values, 8 bits a pixel.
        values: what the values stand for.
    """

    name: str
    picture_path: Path
    label_path: Path
    values: LabelValues

    def picture(self) -> NDArray[np.uint8]:
        """Read the picture.

        Returns:
            uint8 ``[H, W, 3]`` in OpenCV's BGR order.

        Raises:
            SourceError: the file cannot be decoded.
        """
        # A picture is labelled as it is stored: turning it as its EXIF says would turn it away from its labels.
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        picture = cv2.imread(str(self.picture_path), flags)
        if picture is None:
            raise SourceError(f"cannot decode the picture {self.picture_path}")
        return picture.astype(np.uint8, copy=False)

    def truth(self) -> NDArray[np.int16]:
        """Read the labels as class indices.

        Returns:
            int16 ``[H, W]``: 0 .. classes-1, or ``IGNORED``.

        Raises:
            SourceError: the file is no 8-bit single-channel picture, or holds a value that the set does not have.
        """
        return self.values.classes_of(read_values(self.label_path), self.label_path)

    def read(self) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
        """Read picture and truth.

        Raises:
            SourceError: as for :meth:`picture` and :meth:`truth`, or the two differ in size.
        """
        picture, truth = self.picture(), self.truth()
        if picture.shape[:2] != truth.shape:
            (height, width), (rows, columns) = picture.shape[:2], truth.shape
            raise SourceError(
                f"{self.label_path} is {columns} x {rows} pixels and its picture {width} x {height}",
                hint=f"the picture is {self.picture_path}",
            )
        return picture, truth


@dataclass(frozen=True)
class PictureSet:
    """Labelled pictures in a stable order.

    Attributes:
        name: of the set, for tables and records.
        categories: the set's own class names in label order.
        items: the pictures.
        labels: which kind of label values was found, in words.
        note: what has to be said with every figure measured on it, or nothing.
        names_file: the published words for the classes, if there are any.
    """

    name: str
    categories: tuple[str, ...]
    items: tuple[LabelledPicture, ...]
    labels: str
    note: str = ""
    names_file: Path | None = None

    def pictures(self, limit: int | None = None) -> list[LabelledPicture]:
        """Return all pictures; with ``limit``, that many spread evenly over all of them."""
        if limit is None or limit >= len(self.items):
            return list(self.items)
        chosen = np.linspace(0, len(self.items) - 1, max(limit, 1)).round().astype(int)
        return [self.items[i] for i in chosen]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the names and sizes of all files, to tell two copies of a set apart in stored results."""
        digest = hashlib.sha256()
        for item in self.items:
            for path in (item.picture_path, item.label_path):
                digest.update(f"{path.name}:{path.stat().st_size}\n".encode())
        return digest.hexdigest()
