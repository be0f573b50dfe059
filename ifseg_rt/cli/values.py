"""Values as people write them on the command line: sizes, batches, opacities, pairs, counts. One parser for each."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from typing import TypeVar

from ifseg_rt.errors import UsageError
from ifseg_rt.options import KINDS

SMALLEST_SIZE, LARGEST_SIZE = 32, 4096
LARGEST_BATCH = 1024
MOST_DIGITS = 9  # of any number: Python makes none of more than 4300

_SIZE = re.compile(r"(\d{1,9})(?:\s*[xX]\s*(\d{1,9}))?")
_BATCH = re.compile(r"(\d{1,9})(?:\.\.(\d{1,9}))?")
_Value = TypeVar("_Value")


def option(parse: Callable[[str], _Value]) -> Callable[[str], _Value]:
    """Make a parser fit for the ``type`` of an argparse option, whose errors then name the option."""

    def parse_option(text: str) -> _Value:
        try:
            return parse(text)
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse_option


def parse_size(text: str) -> tuple[int, int]:
    """Height and width in pixels, from ``512`` or ``384x640``.

    Raises:
        UsageError: not a size, or outside 32..4096.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{_shown(text)} is not a size", hint="write one number, or HEIGHTxWIDTH such as 384x640")
    height = int(match[1])
    width = int(match[2] or height)
    if not (min(height, width) >= SMALLEST_SIZE and max(height, width) <= LARGEST_SIZE):
        raise UsageError(f"the size {height}x{width} is outside {SMALLEST_SIZE}..{LARGEST_SIZE} pixels")
    return height, width


def parse_batch(text: str) -> tuple[int | None, int]:
    """Smallest and largest number of pictures per call, from ``4`` or ``1..4``.

    The smallest is ``None`` where the number is fixed.

    Raises:
        UsageError: not a number or a range of numbers from 1 up.
    """
    match = _BATCH.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{_shown(text)} is not a batch", hint="write one number, or SMALLEST..LARGEST such as 1..4")
    first, last = match.groups()
    smallest, largest = (None, int(first)) if last is None else (int(first), int(last))
    check_batch(smallest, largest)
    # 3..3 leaves nothing open.
    return (None if smallest == largest else smallest), largest


def check_batch(smallest: int | None, largest: int) -> None:
    """Refuse impossible numbers of pictures.

    Raises:
        UsageError: one is below 1, or the range is empty.
    """
    least = largest if smallest is None else smallest
    if least < 1:
        raise UsageError(f"the batch must be at least 1, found {least}")
    if largest > LARGEST_BATCH:
        raise UsageError(f"the batch must be at most {LARGEST_BATCH}, found {largest}")
    if least > largest:
        raise UsageError(f"a batch range goes from the smallest to the largest, found {least}..{largest}")


def parse_opacity(text: str) -> float:
    """A number from 0 to 1.

    Raises:
        UsageError: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise UsageError(f"expected a number from 0 to 1, found {_shown(text)}")
    return value


def parse_refinement(text: str) -> tuple[int, int]:
    """Neighbours and rounds, from ``3,25``.

    Raises:
        UsageError: not two whole numbers.
    """
    first, found, second = text.partition(",")
    if not (found and _is_number(first.strip()) and _is_number(second.strip())):
        raise UsageError(f"expected neighbours and rounds like 3,25, found {_shown(text)}")
    return int(first), int(second)


def parse_pixels(text: str) -> tuple[int, int]:
    """Width and height of a camera's pictures, from ``1280x720``: as cameras and screens are named everywhere.

    Raises:
        UsageError: it is not that, or one of them is 0.
    """
    width, found, height = text.lower().partition("x")
    if not (found and _is_number(width) and _is_number(height) and int(width) and int(height)):
        raise UsageError(f"expected WIDTHxHEIGHT like 1280x720, found {_shown(text)}")
    return int(width), int(height)


def parse_above_zero(text: str) -> float:
    """A number above 0, of seconds or the like.

    Raises:
        UsageError: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise UsageError(f"expected a number above 0, found {_shown(text)}")
    return value


def parse_kinds(text: str) -> frozenset[str]:
    """What to write, from ``overlay,masks``.

    Raises:
        UsageError: one of them is unknown, or there is none.
    """
    kinds = {kind.strip() for kind in text.split(",")}
    unknown = sorted(kinds - set(KINDS))
    if unknown:
        raise UsageError(f"expected some of {', '.join(KINDS)}, found {unknown[0]!r}")
    return frozenset(kinds)


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    return _at_least(1, text)


def natural(text: str) -> int:
    """A whole number of at least 0, for argparse."""
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    if not _is_number(text) or int(text) < least:
        raise argparse.ArgumentTypeError(
            f"expected a whole number of at least {least} and at most {MOST_DIGITS} digits, found {_shown(text)}"
        )
    return int(text)


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) <= MOST_DIGITS


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
