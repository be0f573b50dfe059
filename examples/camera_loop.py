"""Labels a camera or a stream: ``python examples/camera_loop.py 0``, or an address, or a video."""

from __future__ import annotations

import sys

from ifseg_rt import IfsegError, Observer, Segmenter
from ifseg_rt.sources.base import Event, Source


class Losses(Observer):
    """Says when the camera goes and comes back."""

    def event(self, source: Source, event: Event) -> None:
        """Print it on standard error."""
        print(event.text, file=sys.stderr)


def main(source: str) -> None:
    """Print what fills most of each frame, and how old the frame was by then, until the source ends."""
    with Segmenter.default() as segmenter:
        for seen in segmenter.stream(source, observer=Losses()):
            shares = seen.result.shares
            largest = max(shares, key=lambda name: shares[name])
            print(f"{largest} {shares[largest]:.0%}, {seen.latency_ms:.0f} ms after capture", flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except IfsegError as error:
        sys.exit(str(error))
