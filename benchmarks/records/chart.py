"""Line charts as pictures, drawn with OpenCV: a plotting library is not needed for five curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from ifseg_rt.drawing.palette import color_for

_WIDTH, _HEIGHT = 900, 560
_LEFT, _RIGHT, _TOP, _BOTTOM = 90, 30, 70, 90
_LEGEND_LINE = 20
# Drawn larger and averaged down: OpenCV's own anti-aliasing leaves text of this size thin.
_FINER = 2
_INK, _GRID = (40, 40, 40), (225, 225, 225)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_NEAT = (1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True)
class Curve:
    """One line: its name, and points whose x grow."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Scale:
    """From values to the unit interval, linear or by their logarithm."""

    low: float
    high: float
    logarithmic: bool

    def __call__(self, value: float) -> float:
        """Return where ``value`` lies between ``low`` (0) and ``high`` (1)."""
        if self.low == self.high:
            return 0.5
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def draw_chart(
    title: str,
    x_title: str,
    y_title: str,
    curves: Sequence[Curve],
    note: str = "",
    *,
    log_x: bool = False,
    log_y: bool = False,
) -> NDArray[np.uint8]:
    """Return a chart, uint8 ``[560, 900, 3]`` BGR.

    Args:
        title: above it; plain ASCII, as all texts.
        x_title: below.
        y_title: at the top left.
        curves: at least one, each with at least one point; positive values where an axis is logarithmic.
        note: small, at the bottom.
        log_x: equal factors are equal distances.
        log_y: likewise.
    """
    xs = sorted({x for curve in curves for x, _ in curve.points})
    ys = [y for curve in curves for _, y in curve.points]
    x_scale = Scale(xs[0], xs[-1], log_x)
    y_ticks = _powers(min(ys), max(ys)) if log_y else _steps(max(ys))
    y_scale = Scale(y_ticks[0], y_ticks[-1], log_y)
    top = max(_TOP, 20 + _LEGEND_LINE * len(curves))  # the legend stands above the curves, however many
    picture = np.full((_HEIGHT * _FINER, _WIDTH * _FINER, 3), 255, np.uint8)

    def place(x: float, y: float) -> tuple[int, int]:
        across = _LEFT + x_scale(x) * (_WIDTH - _LEFT - _RIGHT)
        down = _HEIGHT - _BOTTOM - y_scale(y) * (_HEIGHT - top - _BOTTOM)
        return round(across * _FINER), round(down * _FINER)

    for tick in y_ticks:
        _line(picture, place(xs[0], tick), place(xs[-1], tick), _GRID)
        _text(picture, _number(tick), (place(xs[0], tick)[0] - 12 * _FINER, place(xs[0], tick)[1]), align="right")
    for x in _spread(xs, x_scale):
        bottom = place(x, y_ticks[0])
        _line(picture, bottom, (bottom[0], bottom[1] + 6 * _FINER), _INK)
        _text(picture, _number(x), (bottom[0], bottom[1] + 20 * _FINER), align="centre")
    _line(picture, place(xs[0], y_ticks[0]), place(xs[-1], y_ticks[0]), _INK)
    for index, curve in enumerate(curves):
        color = color_for(index)[::-1]
        points = [place(x, y) for x, y in curve.points]
        for start, end in pairwise(points):
            _line(picture, start, end, color, 2)
        for point in points:
            cv2.circle(picture, point, 4 * _FINER, color, -1, cv2.LINE_AA)
    _legend(picture, [curve.name for curve in curves])
    _text(picture, title, (_LEFT * _FINER, 26 * _FINER), size=0.7, weight=2)
    _text(picture, y_title, (_LEFT * _FINER, 50 * _FINER))
    _text(picture, x_title, ((_LEFT + _WIDTH - _RIGHT) // 2 * _FINER, (_HEIGHT - 42) * _FINER), align="centre")
    _text(picture, note, (_LEFT * _FINER, (_HEIGHT - 16) * _FINER), size=0.4)
    small = cv2.resize(picture, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def _legend(picture: NDArray[np.uint8], names: Sequence[str]) -> None:
    """Names with their colours, right of the title's line and downwards."""
    for index, name in enumerate(names):
        down = (20 + _LEGEND_LINE * index) * _FINER
        left = (_WIDTH - _RIGHT - 270) * _FINER
        _line(picture, (left, down), (left + 26 * _FINER, down), color_for(index)[::-1], 3)
        _text(picture, name, (left + 34 * _FINER, down))


def _steps(largest: float) -> list[float]:
    """Round numbers from 0 to at least ``largest``, four to ten of them."""
    if largest <= 0:
        return [0.0, 1.0]
    rough = largest / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(neat * power for neat in _NEAT if neat * power >= rough)
    return [step * index for index in range(math.ceil(largest / step - 1e-9) + 1)]


def _powers(smallest: float, largest: float) -> list[float]:
    """1, 2, 5, 10, ... times powers of ten around all values."""
    first, last = math.floor(math.log10(smallest)), math.ceil(math.log10(largest))
    every = sorted({neat * 10.0**power for power in range(first, last + 1) for neat in _NEAT})
    below = [value for value in every if value <= smallest] or every[:1]
    above = [value for value in every if value >= largest] or every[-1:]
    return [value for value in every if below[-1] <= value <= above[0]]


def _spread(values: Sequence[float], scale: Scale) -> list[float]:
    """The values that can be written under the axis without touching one another."""
    kept: list[float] = []
    for value in values:
        if not kept or scale(value) - scale(kept[-1]) >= 0.05:
            kept.append(value)
    return kept


def _number(value: float) -> str:
    return f"{value:g}"


def _line(
    picture: NDArray[np.uint8],
    start: tuple[int, int],
    end: tuple[int, int],
    color: tuple[int, ...],
    thickness: int = 1,
) -> None:
    cv2.line(picture, start, end, color, thickness * _FINER, cv2.LINE_AA)


def _text(
    picture: NDArray[np.uint8],
    text: str,
    place: tuple[int, int],
    *,
    align: str = "left",
    size: float = 0.5,
    weight: int = 1,
) -> None:
    """Text whose middle line goes through ``place``."""
    scale = size * _FINER
    (width, height), _ = cv2.getTextSize(text, _FONT, scale, weight * _FINER)
    shift = {"left": 0, "centre": width // 2, "right": width}[align]
    corner = (place[0] - shift, place[1] + height // 2)
    cv2.putText(picture, text, corner, _FONT, scale, _INK, weight * _FINER, cv2.LINE_AA)
