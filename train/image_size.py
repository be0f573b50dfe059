"""Input sizes as people write them: ``512`` or ``384x640`` (height x width)."""

from __future__ import annotations

import re

from ifseg_rt.errors import UsageError

SMALLEST, LARGEST = 32, 4096
_SIZE = re.compile(r"^(\d+)(?:[xX](\d+))?$")


def parse_size(text: str) -> tuple[int, int]:
    """Height and width in pixels.

    Raises:
        UsageError: not a size, or outside 32..4096.
    """
    match = _SIZE.match(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is not a size", hint="write one number, or HEIGHTxWIDTH such as 384x640")
    height = int(match.group(1))
    width = int(match.group(2) or height)
    if not (SMALLEST <= height <= LARGEST and SMALLEST <= width <= LARGEST):
        raise UsageError(f"the size {height}x{width} is outside {SMALLEST}..{LARGEST} pixels")
    return height, width
