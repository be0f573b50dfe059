"""A picture sheet: for some pictures the truth, the prediction and where they differ, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.values import IGNORED
from ifseg_rt.errors import SourceError

_TILE_WIDTH = 320
_BAR_HEIGHT = 28
_GAP = 3
_GROUND = 24
_INK = (235, 235, 235)
_WRONG = (60, 60, 230)
_PER_BAR = 8


@dataclass(frozen=True)
class Example:
    """One row of the sheet.

    Attributes:
        name: of the picture.
        picture: uint8 ``[H, W, 3]`` BGR.
        truth: integers ``[H, W]``, class indices or ``IGNORED``.
        prediction: integers ``[H, W]``, class indices.
    """

    name: str
    picture: NDArray[np.uint8]
    truth: NDArray[np.integer]
    prediction: NDArray[np.integer]

    @property
    def right(self) -> float | None:
        """Share of the counted pixels that are right; ``None`` where none is counted."""
        counted = self.truth != IGNORED
        return float((self.truth == self.prediction)[counted].mean()) if counted.any() else None


def draw_sheet(
    examples: Sequence[Example], names: Sequence[str], colors: Sequence[tuple[int, int, int]]
) -> NDArray[np.uint8]:
    """Draw the sheet.

    Args:
        examples: rows, of any picture sizes.
        names: category names.
        colors: RGB per category.

    Returns:
        uint8 ``[H, 4 * 320, 3]`` BGR: for every picture its name and share of right pixels, then picture, truth
        (ignored pixels black), prediction and errors (red); below, a legend of the categories that occur.
    """
    palette = np.zeros((len(names) + 1, 3), np.uint8)  # the last row stays black: index -1 is "ignored"
    palette[:-1] = np.asarray(colors, np.uint8)[:, ::-1]
    parts = [_bar(["picture", "truth (black: not counted)", "prediction", "errors (red)"])]
    for example in examples:
        right = "nothing counted" if example.right is None else f"{100 * example.right:.1f} % right"
        parts += [_bar([f"{example.name}: {right}"]), _row(example, palette)]
    present = sorted(
        {int(i) for example in examples for i in np.union1d(example.truth, example.prediction)} - {IGNORED}
    )
    parts += _legend([names[i] for i in present], palette[present])
    return np.vstack(parts)


def write_sheet(path: Path, sheet: NDArray[np.uint8]) -> None:
    """Write the sheet as the file's ending says.

    Raises:
        SourceError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        written = cv2.imwrite(str(path), sheet)
    except cv2.error:
        written = False
    if not written:
        raise SourceError(f"cannot write the picture sheet {path}", hint="its name ends with .png or .jpg")


def _row(example: Example, palette: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = example.truth.shape
    truth, prediction = palette[example.truth], palette[example.prediction]
    errors = (example.picture // 3).astype(np.uint8)
    errors[example.truth == IGNORED] = 0
    errors[(example.truth != IGNORED) & (example.truth != example.prediction)] = _WRONG
    size = (_TILE_WIDTH, max(1, round(height * _TILE_WIDTH / width)))
    tiles = [cv2.resize(example.picture, size, interpolation=cv2.INTER_AREA)]
    tiles += [cv2.resize(tile, size, interpolation=cv2.INTER_NEAREST) for tile in (truth, prediction, errors)]
    row = np.hstack(tiles).astype(np.uint8, copy=False)
    row[-_GAP:] = _GROUND
    for column in range(1, len(tiles)):
        row[:, column * _TILE_WIDTH - _GAP : column * _TILE_WIDTH] = _GROUND
    return row


def _bar(texts: Sequence[str], swatches: NDArray[np.uint8] | None = None, columns: int = 4) -> NDArray[np.uint8]:
    bar = np.full((_BAR_HEIGHT, 4 * _TILE_WIDTH, 3), _GROUND, np.uint8)
    for column, text in enumerate(texts):
        left = column * (4 * _TILE_WIDTH // columns) + 8
        if swatches is not None:
            cv2.rectangle(bar, (left, 7), (left + 14, 21), swatches[column].tolist(), cv2.FILLED)
            left += 22
        cv2.putText(bar, text, (left, 19), cv2.FONT_HERSHEY_SIMPLEX, 0.45, _INK, 1, cv2.LINE_AA)
    return bar


def _legend(names: Sequence[str], colors: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    starts = range(0, len(names), _PER_BAR)
    return [_bar(names[i : i + _PER_BAR], colors[i : i + _PER_BAR], _PER_BAR) for i in starts]
