"""What 8-bit label values stand for, and which of a set's kinds of values some files hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ifseg_rt.errors import SourceError

IGNORED = -1
"""Class index of pixels that no measurement counts."""

_UNKNOWN = -2
_SAMPLE = 64  # label files read to tell two kinds of values apart


@dataclass(frozen=True)
class LabelValues:
    """One kind of label values.

    Attributes:
        title: in words, for messages and records.
        kind: ``raw`` as distributed, ``converted`` by a tool in common use.
        table: int16 [256], the class of every value, or ``IGNORED``, or unknown.
    """

    title: str
    kind: str
    table: NDArray[np.int16]

    @classmethod
    def of(
        cls, title: str, class_of: Mapping[int, int], *, ignored: Sequence[int] = (255,), kind: str = "raw"
    ) -> LabelValues:
        """Build a kind from the values of its classes and the values that are not counted; all others are unknown."""
        table = np.full(256, _UNKNOWN, dtype=np.int16)
        table[list(class_of)] = list(class_of.values())
        table[list(ignored)] = IGNORED
        return cls(title, kind, table)

    def regrouped(self, classes: Sequence[int]) -> LabelValues:
        """Return the same values where only ``classes`` count, numbered anew in the order given."""
        new = np.full(256, IGNORED, dtype=np.int16)
        new[list(classes)] = np.arange(len(classes))
        table = np.where(self.table >= 0, new[np.maximum(self.table, 0)], self.table)
        return LabelValues(self.title, self.kind, table.astype(np.int16))

    def unknown(self, values: NDArray[np.integer]) -> list[int]:
        """Return those of some values that this kind does not have."""
        return [int(value) for value in values if self.table[value] == _UNKNOWN]

    def classes_of(self, values: NDArray[np.uint8], origin: Path) -> NDArray[np.int16]:
        """Turn values into class indices.

        Args:
            values: uint8 ``[H, W]``.
            origin: the file, for messages.

        Raises:
            SourceError: a value is unknown.
        """
        classes = self.table[values]
        if classes.min(initial=0) == _UNKNOWN:
            strange = self.unknown(np.unique(values))
            raise SourceError(f"{origin} holds the label value {strange[0]}", hint=f"expected {self.title}")
        return classes


def read_values(path: Path) -> NDArray[np.uint8]:
    """Read a label file as it is stored: a palette stays what it is, indices.

    Returns:
        uint8 ``[H, W]``.

    Raises:
        SourceError: the file cannot be decoded, or is not 8 bits a pixel in one channel.
    """
    from PIL import Image, UnidentifiedImageError  # OpenCV would turn palette indices into colours

    try:
        with Image.open(path) as file:
            if file.mode not in ("L", "P"):
                raise SourceError(
                    f"{path} has mode {file.mode}; labels are 8-bit indices (mode L or P)",
                    hint="colours have to be converted to indices first" if file.mode.startswith("RGB") else None,
                )
            return np.asarray(file, dtype=np.uint8)
    except UnidentifiedImageError:
        raise SourceError(f"cannot decode the labels {path}") from None
    except OSError as error:
        raise SourceError(f"cannot read the labels {path}: {error}") from error


def detect(paths: Sequence[Path], kinds: Sequence[LabelValues]) -> tuple[LabelValues, str]:
    """Tell which kind of values some label files hold.

    Args:
        paths: the files; at most 64 of them, spread evenly, are read.
        kinds: in order of preference.

    Returns:
        The first kind that has all the values found, and in words how it is known.

    Raises:
        SourceError: no kind has them all, or a file cannot be read.
    """
    if len(kinds) == 1:
        return kinds[0], kinds[0].title
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(_SAMPLE, len(paths))).round().astype(int))
    home: dict[int, Path] = {}
    for index in chosen:
        for value in np.unique(read_values(paths[index])):
            home.setdefault(int(value), paths[index])
    found = np.array(sorted(home))
    fitting = [kind for kind in kinds if not kind.unknown(found)]
    if not fitting:
        best = min(kinds, key=lambda kind: len(kind.unknown(found)))
        strange = best.unknown(found)[0]
        raise SourceError(
            f"{home[strange]} holds the label value {strange}, and the labels together fit no kind that is known",
            hint="expected " + ", or ".join(kind.title for kind in kinds),
        )
    how = "by their values" if len(fitting) == 1 else "assumed: their values would fit either kind"
    return fitting[0], f"{fitting[0].title} ({how})"
