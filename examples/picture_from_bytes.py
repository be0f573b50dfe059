"""Labels a picture that arrives as bytes: ``python examples/picture_from_bytes.py < picture.jpg``."""

from __future__ import annotations

import json
import sys

import cv2
import numpy as np

from ifseg_rt import Segmenter


def shares_of(data: bytes, segmenter: Segmenter) -> dict[str, float]:
    """Decode a JPEG or PNG and return the share of each category that is present."""
    frame = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if frame is None:
        raise SystemExit("standard input holds no picture")
    return {name: round(share, 4) for name, share in segmenter(frame).shares.items() if share > 0}


if __name__ == "__main__":
    with Segmenter.default() as opened:
        print(json.dumps(shares_of(sys.stdin.buffer.read(), opened)))
