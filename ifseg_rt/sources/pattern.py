"""A moving pattern that carries its number and its time in its pixels: a camera for machines that have none."""

from __future__ import annotations

import math
import re
import threading
import time
import zlib
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from ifseg_rt.errors import UsageError
from ifseg_rt.sources.connection import ConnectedSource, Items, now

_ARGUMENT = re.compile(r"test:(?:(\d{1,5})x(\d{1,5}))?(?:@(\d+(?:\.\d+)?|max))?")
_SIZE, _FPS = (640, 480), 30.0
_LARGEST_SIDE, _FASTEST = 16384, 1000.0

# The stamp fills the upper eighth: 4 x 24 blocks, black for 0 and white for 1, lowest bit first. In 640 x 480 a block
# is 26 x 15 pixels: more than the 16 x 16 that H.264 codes as one, and readable after halving the picture.
_ROWS, _COLUMNS = 4, 24
_NUMBER_BITS, _TIME_BITS, _CHECK_BITS = 32, 52, 12  # 2**52 microseconds last until 2112
_SMALLEST_BLOCK = (2, 4)  # pixels down and across
_BLACK, _WHITE = 16, 235
_UNSURE = 30  # grey levels around the middle that are neither


class TestPattern(ConnectedSource):
    """Frames made on the spot, at a pace of their own or as fast as they are taken (``@max``).

    With a pace it behaves like a camera: what is not fetched in time is not caught up with later.

    Args:
        argument: ``test:``, ``test:1280x720``, ``test:@15``, ``test:640x480@30`` or ``test:640x480@max``.

    Raises:
        UsageError: the argument is none of these.
    """

    __test__ = False  # its name does not make it a test

    def __init__(self, argument: str) -> None:
        match = _ARGUMENT.fullmatch(argument)
        expected = "expected test:WIDTHxHEIGHT@FPS, such as test:640x480@30, or @max"
        if match is None:
            raise UsageError(f"{argument} is no test pattern: {expected}")
        width, height = (int(match[1]), int(match[2])) if match[1] else _SIZE
        if not (0 < width <= _LARGEST_SIDE and 0 < height <= _LARGEST_SIDE):
            raise UsageError(f"{argument}: width and height must be 1 to {_LARGEST_SIDE}", hint=expected)
        rate = math.inf if match[3] == "max" else float(match[3] or _FPS)
        if rate != math.inf and not 0 < rate <= _FASTEST:
            raise UsageError(f"{argument}: the rate must be above 0 and at most {_FASTEST:.0f}", hint=expected)
        paced = rate != math.inf
        super().__init__(argument, f"test_{width}x{height}")
        self.is_live = paced
        self.fps = rate if paced else None
        self._size = (width, height)
        self._interval = 1 / rate if paced else 0.0
        self._background: NDArray[np.uint8] | None = None

    def _connect(self, stop: threading.Event) -> tuple[Items, Callable[[], None]]:
        if self._background is None:
            self._background = _background(*self._size)
        return self._ticks(stop, self._background), lambda: None

    def _ticks(self, stop: threading.Event, background: NDArray[np.uint8]) -> Items:
        due = time.monotonic()
        while True:
            wait = due - time.monotonic()
            if wait > 0 and stop.wait(wait):
                return
            captured, taken = now()
            due = max(due + self._interval, captured)
            yield self._frame(_draw(background, self._size[0], self._next_index, taken), captured, taken)


def read_stamp(image: NDArray[np.uint8]) -> tuple[int, float] | None:
    """Read what a frame of the test pattern carries, also after compression and after scaling the whole frame.

    Args:
        image: H x W x 3 uint8, or H x W uint8.

    Returns:
        The number of the frame and when it was made, in seconds since 1970; ``None`` where no stamp is readable.
    """
    height, width = image.shape[0] // 8, image.shape[1]
    if height < _ROWS * _SMALLEST_BLOCK[0] or width < _COLUMNS * _SMALLEST_BLOCK[1]:
        return None
    top = image[:height].mean(axis=2) if image.ndim == 3 else image[:height].astype(np.float64)
    ys, xs = np.arange(_ROWS) * height / _ROWS, np.arange(_COLUMNS) * width / _COLUMNS
    tall, wide = height / _ROWS, width / _COLUMNS
    levels = np.array(
        [
            [
                # the inner half: compression blurs the edges
                top[
                    int(y + tall / 4) : max(int(y + tall * 3 / 4), int(y + tall / 4) + 1),
                    int(x + wide / 4) : max(int(x + wide * 3 / 4), int(x + wide / 4) + 1),
                ].mean()
                for x in xs
            ]
            for y in ys
        ]
    )
    middle = (_BLACK + _WHITE) / 2
    if bool((abs(levels - middle) < _UNSURE).any()):
        return None
    value = sum(1 << place for place, bit in enumerate(levels.ravel() > middle) if bit)
    body, check = value >> _CHECK_BITS, value & ((1 << _CHECK_BITS) - 1)
    if _check(body) != check:
        return None
    return body & ((1 << _NUMBER_BITS) - 1), (body >> _NUMBER_BITS) / 1e6


def _check(body: int) -> int:
    return zlib.crc32(body.to_bytes((_NUMBER_BITS + _TIME_BITS + 7) // 8, "little")) & ((1 << _CHECK_BITS) - 1)


def _background(width: int, height: int) -> NDArray[np.uint8]:
    """Two widths of slanted colour waves that repeat after one, so that a window sliding over them shows motion."""
    x, y = np.arange(2 * width, dtype=np.float32), np.arange(height, dtype=np.float32)
    phase = (2 * np.pi * 2 / width) * x[None, :] + (2 * np.pi / max(height, 1)) * y[:, None]
    waves = [np.sin(phase + shift) * 80 + 120 for shift in (0.0, 2.1, 4.2)]
    return np.stack(waves, axis=2).astype(np.uint8)


def _draw(background: NDArray[np.uint8], width: int, number: int, taken: float) -> NDArray[np.uint8]:
    height = background.shape[0]
    offset = (number * max(width // 160, 1)) % width
    image: NDArray[np.uint8] = background[:, offset : offset + width].copy()
    radius = max(min(width, height) // 8, 1)
    centre = ((number * max(width // 100, 1)) % width, height * 5 // 8)
    cv2.circle(image, centre, radius, (40, 220, 250), cv2.FILLED)
    band = height // 8
    if band >= _ROWS * _SMALLEST_BLOCK[0] and width >= _COLUMNS * _SMALLEST_BLOCK[1]:
        body = (round(taken * 1e6) & ((1 << _TIME_BITS) - 1)) << _NUMBER_BITS | number & ((1 << _NUMBER_BITS) - 1)
        value = body << _CHECK_BITS | _check(body)
        bits = np.array([value >> place & 1 for place in range(_ROWS * _COLUMNS)], dtype=np.uint8)
        blocks = (bits * (_WHITE - _BLACK) + _BLACK).reshape(_ROWS, _COLUMNS)
        image[:band] = cv2.resize(blocks, (width, band), interpolation=cv2.INTER_NEAREST)[..., None]
    return image
