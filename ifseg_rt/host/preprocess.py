"""From a uint8 frame to the network's input, exactly as the sidecar says (spec 4.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ifseg_rt.artifact.sidecar import Preprocess
    from ifseg_rt.frames import ColorOrder


class Preprocessor:
    """Resize and normalise frames into one buffer that is allocated once.

    The buffer is reused by the next call: one preprocessor serves one thread at a time.
    """

    def __init__(self, spec: Preprocess) -> None:
        self._spec = spec
        self._buffer = np.empty((1, 3, spec.height, spec.width), dtype=np.float32)
        self._resized = np.empty((spec.height, spec.width, 3), dtype=np.uint8)
        # A uint8 has 256 values: the whole normalisation is a table per channel, exact to the last bit.
        levels = np.arange(256, dtype=np.float32) / np.float32(255)
        self._tables = [
            ((levels - np.float32(mean)) / np.float32(std)).reshape(1, 256)
            for mean, std in zip(spec.mean, spec.std, strict=True)
        ]

    def __call__(self, frame: NDArray[np.uint8], color: ColorOrder) -> NDArray[np.float32]:
        """Fill the buffer from one frame.

        Args:
            frame: H x W x 3 uint8, contiguous, of any size; stretched to the input size with ``INTER_LINEAR``.
            color: channel order of ``frame``.

        Returns:
            The buffer, 1 x 3 x height x width float32, valid until the next call.
        """
        spec = self._spec
        resized = frame
        if frame.shape[:2] != (spec.height, spec.width):
            resized = cv2.resize(frame, (spec.width, spec.height), dst=self._resized, interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
        swapped = color != spec.color
        for channel, table in enumerate(self._tables):
            plane = cv2.extractChannel(resized, 2 - channel if swapped else channel)
            cv2.LUT(plane, table, dst=self._buffer[0, channel])
        return self._buffer
