"""Colours are distinct and stable; the legend shows the classes present and fits any picture."""

from __future__ import annotations

import numpy as np
import pytest

from ifseg_rt.drawing.overlay import LegendEntry, colorize, draw_legend, legend_entries
from ifseg_rt.drawing.palette import color_for


def test_colours_are_distinct_and_stable() -> None:
    colors = [color_for(index) for index in range(3000)]
    assert len(set(colors)) == 3000
    assert all(0 <= value <= 255 for color in colors for value in color)
    assert colors[:3] == [(60, 180, 75), (0, 0, 255), (255, 0, 0)]
    with pytest.raises(ValueError, match="at least 0"):
        color_for(-1)


def test_colorize_8_and_16_bit() -> None:
    colors = [color_for(index) for index in range(300)]
    labels = np.random.default_rng(0).integers(0, 256, (20, 30))
    table = np.array(colors, dtype=np.uint8)
    small = colorize(labels.astype(np.uint8), colors[:256], "rgb")
    np.testing.assert_array_equal(small, table[labels])
    wide = colorize((labels + 40).astype(np.uint16), colors, "bgr")
    np.testing.assert_array_equal(wide, table[labels + 40][:, :, ::-1])


def test_legend_rows() -> None:
    entries = legend_entries(["sky", "road", "pole", "car"], [(1, 2, 3)] * 4, [0.2, 0.7, 0.0001, 0.0999])
    assert [entry.name for entry in entries] == ["road", "sky", "car"]


@pytest.mark.parametrize("size", [(1, 1), (10, 10), (48, 64), (480, 640), (30, 2000), (1080, 1920)])
@pytest.mark.parametrize("rows", [0, 1, 5, 150])
def test_legend_fits_any_picture(size: tuple[int, int], rows: int) -> None:
    picture = np.full((*size, 3), 200, dtype=np.uint8)
    draw_legend(picture, [LegendEntry(f"class ü {row}", color_for(row), 1 / rows) for row in range(rows)], "bgr")
    assert picture.shape == (*size, 3)
    assert (picture != 200).any() == (rows > 0 and size != (1, 1)) or size[0] <= 10


def test_legend_shows_the_colour_in_the_pictures_order() -> None:
    for order, expected in (("rgb", (250, 10, 20)), ("bgr", (20, 10, 250))):
        picture = np.zeros((200, 300, 3), dtype=np.uint8)
        draw_legend(picture, [LegendEntry("road", (250, 10, 20), 1.0)], order)  # type: ignore[arg-type]
        assert (picture.reshape(-1, 3) == expected).all(axis=1).sum() > 20
