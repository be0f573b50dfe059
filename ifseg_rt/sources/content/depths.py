"""Brings pictures of more than 8 bits a channel to 0..255, in words where that takes a guess."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ifseg_rt.errors import SourceError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BITS = (8, 10, 12, 14, 16)  # what cameras deliver in files of 16 bits


def eight_bits(picture: NDArray[Any], name: str) -> tuple[NDArray[np.uint8], str | None]:
    """Scale a picture of any number format to 0..255.

    Whole numbers are scaled by the largest value of the fewest bits that hold them: sensors of 12 bits write files of
    16, which would come out nearly black by their format alone. Fractions are taken as 0..1, or as they are up to 255.

    Args:
        picture: H x W or H x W x C of any number format.
        name: what messages call it.

    Returns:
        The same shape in uint8, and what was assumed, where that was not certain.

    Raises:
        SourceError: fractions, or whole numbers of other formats, outside what has a meaning.
    """
    if picture.dtype == np.uint8:
        return picture, None
    low, high = _range(picture, name)
    whole = np.issubdtype(picture.dtype, np.integer)
    if low < 0 or high > (65535 if whole else 255):
        raise SourceError(
            f"{name} holds {picture.dtype} values from {low:g} to {high:g}: expected 0..1 or 0..255",
            hint="scale it to 8 or 16 bits first",
        )
    if whole:
        bits = next(bits for bits in _BITS if high < 1 << bits) if high else 16
        largest = (1 << bits) - 1
        note = f"{8 * picture.dtype.itemsize} bits per channel scaled by the largest value of {bits} bits, {largest}"
        certain = bits == 16 and picture.dtype == np.uint16
    else:
        largest = 1 if high <= 1 else 255
        note, certain = f"{picture.dtype} values from {low:g} to {high:g} taken as 0..{largest}", False
    numbers = picture if picture.dtype == np.uint16 else picture.astype(np.float32)
    return cv2.convertScaleAbs(numbers, alpha=255 / largest), None if certain else note  # type: ignore[return-value]


def _range(picture: NDArray[Any], name: str) -> tuple[float, float]:
    if np.issubdtype(picture.dtype, np.floating) and not np.isfinite(picture).all():
        raise SourceError(f"{name} holds values that are not finite", hint="replace them by numbers first")
    return float(picture.min()), float(picture.max())
