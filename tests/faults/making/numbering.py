"""A frame number drawn as black and white cells, read back from a decoded picture: a guess of a decoder is no number.

The cells fill the bottom strip of a picture of 160 x 96, clear of the legend: one row with twelve bits of the number
and a check sum of four, one row with sixteen bits that mix it up, so that no part of the strip stays as it was before.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 160, 96
STRIP = 32  # rows at the bottom
BITS = 16
CELL_WIDTH, CELL_HEIGHT = WIDTH // BITS, STRIP // 2
MOST = 1 << 12
_BLACK, _WHITE = 30, 225
_SURE = 45  # how far the mean of a cell must be from middle grey


def numbered(number: int) -> NDArray[np.uint8]:
    """Draw a moving background (so that every frame differs everywhere) with ``number`` in its strip: BGR."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    picture = np.empty((HEIGHT, WIDTH, 3), dtype=np.uint8)
    for channel, (down, right, speed) in enumerate(((3, 1, 7), (1, 2, 11), (2, 3, 5))):
        picture[..., channel] = (rows * down + columns * right + number * speed) % 200 + 28
    for row, word in enumerate(_words(number)):
        top = HEIGHT - STRIP + row * CELL_HEIGHT
        for bit in range(BITS):
            left = bit * CELL_WIDTH
            shade = _WHITE if word >> bit & 1 else _BLACK
            picture[top : top + CELL_HEIGHT, left : left + CELL_WIDTH] = shade
    return picture


def read_number(picture: NDArray[np.uint8]) -> int | None:
    """Read the number from a picture of 160 x 96 (grey or BGR); ``None`` where any cell or check is in doubt."""
    if picture.shape[:2] != (HEIGHT, WIDTH):
        return None
    grey = picture if picture.ndim == 2 else picture.mean(axis=2)
    words = []
    for row in range(2):
        word = 0
        top = HEIGHT - STRIP + row * CELL_HEIGHT
        for bit in range(BITS):
            left = bit * CELL_WIDTH
            mean = float(grey[top + 4 : top + CELL_HEIGHT - 4, left + 3 : left + CELL_WIDTH - 3].mean())
            if abs(mean - 127.5) < _SURE:
                return None
            word |= int(mean > 127.5) << bit
        words.append(word)
    number = words[0] & (MOST - 1)
    return number if tuple(words) == _words(number) else None


def _words(number: int) -> tuple[int, int]:
    if not 0 <= number < MOST:
        raise ValueError(f"number: expected 0 to {MOST - 1}, found {number}")
    check = (number ^ number >> 4 ^ number >> 8) & 15
    return number | (check ^ 15) << 12, (number * 40503 + 12345) & 0xFFFF
