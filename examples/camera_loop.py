"""Labels a camera frame by frame: ``python examples/camera_loop.py 0``, or a video file in place of the number."""

from __future__ import annotations

import sys
import time

import cv2

from ifseg_rt import Segmenter


def main(source: str) -> None:
    """Print what fills most of each frame, and how long the frame took, until the source ends."""
    capture = cv2.VideoCapture(int(source) if source.isdecimal() else source)
    if not capture.isOpened():
        sys.exit(f"cannot open {source}")
    try:
        with Segmenter.default() as segmenter:
            while True:
                read, frame = capture.read()
                if not read:
                    break
                start = time.perf_counter()
                shares = segmenter(frame).shares
                largest = max(shares, key=lambda name: shares[name])
                print(f"{largest} {shares[largest]:.0%}, {1000 * (time.perf_counter() - start):.0f} ms")
    finally:
        capture.release()


if __name__ == "__main__":
    main(sys.argv[1])
