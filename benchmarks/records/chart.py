"""Line charts as PNG files, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ifseg_rt.drawing.palette import color_for
from ifseg_rt.errors import SourceError, UsageError

_INCHES, _DOTS = (9.0, 5.6), 100


@dataclass(frozen=True)
class Curve:
    """One line: its name, and points whose x grow."""

    name: str
    points: tuple[tuple[float, float], ...]


def draw_chart(
    path: Path,
    title: str,
    x_title: str,
    y_title: str,
    curves: Sequence[Curve],
    note: str = "",
    *,
    log_x: bool = False,
    log_y: bool = False,
) -> None:
    """Write a chart of 900 x 560 pixels.

    Args:
        path: the PNG file; its folder is there.
        title: above it.
        x_title: below.
        y_title: at the left.
        curves: at least one, each with at least one point; positive values where an axis is logarithmic.
        note: small, at the bottom.
        log_x: equal factors are equal distances.
        log_y: likewise.

    Raises:
        UsageError: matplotlib is missing.
        SourceError: the picture cannot be written.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import NullLocator, ScalarFormatter
    except ImportError:
        raise UsageError("charts are drawn with matplotlib, which is missing", hint="pip install matplotlib") from None

    # A Figure of its own, not pyplot: no window system is looked for and nothing global stays behind.
    figure = Figure(figsize=_INCHES, dpi=_DOTS, layout="constrained")
    axes = figure.add_subplot(title=title, xlabel=x_title, ylabel=y_title)
    for index, curve in enumerate(curves):
        xs, ys = zip(*curve.points, strict=True)
        axes.plot(xs, ys, "o-", label=curve.name, color=[part / 255 for part in color_for(index)])
    if log_x:
        axes.set_xscale("log")
        axes.set_xticks(sorted({x for curve in curves for x, _ in curve.points}))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(ScalarFormatter())
    if log_y:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
    else:
        axes.set_ylim(bottom=0)
    axes.grid(axis="y", color="0.88")
    figure.legend(loc="outside right upper", fontsize="small")
    figure.supxlabel(note, fontsize="x-small")
    try:
        figure.savefig(path, format="png")
    except OSError as error:
        raise SourceError(f"cannot write the picture {path}: {error.strerror}") from error
