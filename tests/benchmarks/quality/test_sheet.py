"""The picture sheet: what is where, and in which colour."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.datasets.values import IGNORED
from benchmarks.quality.sheet import Example, draw_sheet, write_sheet
from ifseg_rt.errors import SourceError

BAR, TILE = 28, 320
COLORS = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]


def example(width: int = TILE, height: int = 40) -> Example:
    """Left half class 0 and right; right half class 1 labelled and class 2 predicted; the top row is not counted."""
    truth = np.zeros((height, width), int)
    truth[:, width // 2 :] = 1
    prediction = np.where(truth == 1, 2, 0)
    truth[0] = IGNORED
    return Example("one", np.full((height, width, 3), 90, np.uint8), truth, prediction)


def test_tiles_and_colours() -> None:
    sheet = draw_sheet([example()], ["red", "green", "blue"], COLORS)
    assert sheet.shape == (3 * BAR + 40, 4 * TILE, 3)
    row = sheet[2 * BAR : 2 * BAR + 40]
    left, right = 40, 240
    assert row[20, left].tolist() == [90, 90, 90]
    assert row[20, TILE + left].tolist() == [0, 0, 250]  # BGR
    assert row[20, TILE + right].tolist() == [0, 250, 0]
    assert row[0, TILE + left].tolist() == [0, 0, 0]
    assert row[20, 2 * TILE + right].tolist() == [250, 0, 0]
    assert row[20, 3 * TILE + left].tolist() == [30, 30, 30]  # right: the picture, darkened
    assert row[20, 3 * TILE + right].tolist() == [60, 60, 230]
    assert row[0, 3 * TILE + right].tolist() == [0, 0, 0]


def test_share_of_right_pixels() -> None:
    assert example().right == 0.5
    one = example()
    assert Example("none", one.picture, np.full_like(one.truth, IGNORED), one.prediction).right is None


def test_legend_names_what_occurs() -> None:
    names, colors = [f"class {i}" for i in range(40)], [(6 * i, 255 - 6 * i, 128) for i in range(40)]
    assert draw_sheet([example()], names, colors).shape[0] == 3 * BAR + 40
    many = Example("many", np.zeros((10, 40, 3), np.uint8), np.tile(np.arange(40), (10, 1)), np.zeros((10, 40), int))
    assert draw_sheet([many], names, colors).shape[0] == 2 * BAR + 80 + 5 * BAR


def test_writing(tmp_path: Path) -> None:
    sheet = draw_sheet([example(200, 150)], ["red", "green", "blue"], COLORS)
    write_sheet(tmp_path / "new" / "sheet.png", sheet)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "new" / "sheet.png")), sheet)
    with pytest.raises(SourceError, match="cannot write the picture sheet"):
        write_sheet(tmp_path / "sheet.unknown", sheet)
