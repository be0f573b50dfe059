"""A picture sheet: for some pictures the truth, the prediction and where they differ, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets import IGNORED

_TILE_WIDTH = 320
_BAR_HEIGHT = 28
_GAP = 3
_GROUND = 24
_INK = (235, 235, 235)
_WRONG = (60, 60, 230)


@dataclass(frozen=True)
class Example:
    """One row of the sheet.

    Attributes:
        picture: uint8 ``[H, W, 3]`` BGR.
        truth: integers ``[H, W]``, class indices or ``IGNORED``.
        prediction: integers ``[H, W]``, class indices.
    """

    picture: NDArray[np.uint8]
    truth: NDArray[np.integer]
    prediction: NDArray[np.integer]


def draw_sheet(
    examples: Sequence[Example], names: Sequence[str], colors: Sequence[tuple[int, int, int]]
) -> NDArray[np.uint8]:
    """Draw the sheet.

    Args:
        examples: rows, of any picture sizes.
        names: category names.
        colors: RGB per category.

    Returns:
        uint8 ``[H, 4 * 320, 3]`` BGR: picture, truth (ignored pixels black), prediction, errors (red) per row, and a
        legend of all categories below.
    """
    palette = np.zeros((len(names) + 1, 3), np.uint8)  # the last row stays black: index -1 is "ignored"
    palette[:-1] = np.asarray(colors, np.uint8)[:, ::-1]
    bars = [_bar(["picture", "truth", "prediction", "errors"])]
    bars += [_row(example, palette) for example in examples]
    return np.vstack([*bars, *_legend(names, palette)])


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


def _bar(texts: Sequence[str], swatches: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    bar = np.full((_BAR_HEIGHT, 4 * _TILE_WIDTH, 3), _GROUND, np.uint8)
    for column, text in enumerate(texts):
        left = column * (4 * _TILE_WIDTH // max(4, len(texts))) + 8
        if swatches is not None:
            cv2.rectangle(bar, (left, 7), (left + 14, 21), swatches[column].tolist(), cv2.FILLED)
            left += 22
        cv2.putText(bar, text, (left, 19), cv2.FONT_HERSHEY_SIMPLEX, 0.45, _INK, 1, cv2.LINE_AA)
    return bar


def _legend(names: Sequence[str], palette: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    per_bar = 8
    return [_bar(names[i : i + per_bar], palette[i : i + per_bar]) for i in range(0, len(names), per_bar)]
