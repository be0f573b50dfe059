"""What the scaling curves are drawn over: one setting varied, all others fixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ifseg_rt.cli.values import parse_size
from ifseg_rt.errors import UsageError

Sweep = Literal["size", "classes", "threads", "batch", "streams"]


@dataclass(frozen=True)
class Axis:
    """One setting that can be varied.

    Attributes:
        field: its name in :class:`benchmarks.speed.measurement.Measurement`.
        title: for the axis of a plot.
        values: what it goes through unless told otherwise; empty for "up to the number of cores".
        logarithmic: whether equal factors are equal distances.
    """

    field: str
    title: str
    values: tuple[Any, ...]
    logarithmic: bool = False


SWEEPS: dict[str, Axis] = {
    "size": Axis("size", "input side, pixels", tuple((side, side) for side in (256, 384, 512, 640, 768, 1024))),
    "classes": Axis("classes", "categories", (1, 3, 12, 50, 150, 400, 1000), logarithmic=True),
    "threads": Axis("threads", "threads", ()),
    "batch": Axis("batch", "pictures per call", (1, 2, 4, 8)),
    "streams": Axis("streams", "streams at once", ()),
}


def sweep_values(sweep: str, given: Sequence[str] | None, cores: int) -> list[Any]:
    """Return what a sweep goes through.

    Args:
        sweep: which.
        given: values as text, or ``None`` for the usual ones.
        cores: how many cores can be used.

    Raises:
        UsageError: an invalid value.
    """
    axis = SWEEPS[sweep]
    if given:
        return [parse_size(text) if sweep == "size" else _count(text) for text in given]
    if axis.values:
        return list(axis.values)
    if sweep == "threads":
        return [number for number in _powers(cores) if number < cores] + [cores]
    return _powers(2 * cores)  # twice as many streams as cores: where more of them stop helping


def _powers(most: int) -> list[int]:
    return [1 << exponent for exponent in range(most.bit_length()) if 1 << exponent <= most]


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"a sweep goes through whole numbers of at least 1, found {text!r}")
    return int(text)
