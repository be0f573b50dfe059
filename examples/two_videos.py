"""Two cameras or videos at once: ``python examples/two_videos.py FIRST SECOND``.

One segmenter serves both threads: they take turns on the network, and reading and up-sampling run beside it.
"""

from __future__ import annotations

import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import cv2

from ifseg_rt import Segmenter


def watch(source: str, segmenter: Segmenter) -> Counter[str]:
    """Count, for each word, the frames in which it is the largest."""
    capture = cv2.VideoCapture(int(source) if source.isdecimal() else source)
    if not capture.isOpened():
        raise SystemExit(f"cannot open {source}")
    largest: Counter[str] = Counter()
    while True:
        read, frame = capture.read()
        if not read:
            capture.release()
            return largest
        shares = segmenter(frame).shares
        largest[max(shares, key=lambda name: shares[name])] += 1


if __name__ == "__main__":
    sources = sys.argv[1:]
    with Segmenter.default() as shared, ThreadPoolExecutor(len(sources)) as pool:
        for name, counts in zip(sources, pool.map(lambda source: watch(source, shared), sources), strict=True):
            print(f"{name}: {dict(counts)}")
