"""``python -m benchmarks.glass_to_mask``: from the moment a frame shows to the moment its labels are there.

The test pattern carries the time at which it was made in its pixels, so the figure holds for whatever lies between:
queues, a network, a codec. Inference alone is measured first, in the same process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.command import run_command
from ifseg_rt import Result, Segmenter, StreamPolicy
from ifseg_rt.cli.values import parse_above_zero, positive
from ifseg_rt.errors import SourceError
from ifseg_rt.sources.pattern import read_stamp


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Median and 95th percentile, rounded to a tenth."""
    ordered = sorted(values)
    return {
        "p50": round(statistics.median(ordered), 1),
        "p95": round(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))], 1),
    }


class _Slowed:
    """A segmenter that takes ``factor`` times as long as it does."""

    def __init__(self, segmenter: Segmenter, factor: float) -> None:
        self._segmenter = segmenter
        self._factor = factor

    def __call__(self, image: Any) -> Result:  # noqa: ANN401
        started = time.perf_counter()
        result = self._segmenter(image)
        time.sleep((time.perf_counter() - started) * (self._factor - 1))
        return result


def measure(segment: Any, source: str, seconds: float) -> dict[str, Any]:  # noqa: ANN401
    """Label a stamped source for so many seconds.

    Raises:
        SourceError: the pictures carry no stamp.
    """
    from ifseg_rt.stream.segmented import SegmentedStream

    alone: list[float] = []
    latencies: list[float] = []
    dropped: dict[str, int] = {}
    with SegmentedStream(segment, [source], StreamPolicy()) as frames:
        began = time.monotonic()
        for seen in frames:
            stamp = read_stamp(seen.frame.image)
            if stamp is None:
                raise SourceError(f"{source} carries no stamp", hint="name a test: source, or a stream of one")
            if not alone:
                alone = _alone(segment, seen.frame.image)
                began = time.monotonic()
                continue
            # The time of the labels, not of this line: a frame may have waited for the loop.
            labelled_at = seen.frame.taken + seen.latency_ms / 1e3
            latencies.append((labelled_at - stamp[1]) * 1e3)
            dropped = dict(seen.dropped)
            if time.monotonic() - began > seconds:
                break
    latencies = latencies[3:]  # while inference alone was measured, frames waited
    return {
        "source": source,
        "frames": len(latencies),
        "dropped": dropped,
        "inference_ms": percentiles(alone),
        "glass_to_mask_ms": percentiles(latencies),
    }


def _alone(segment: Any, image: Any, runs: int = 30) -> list[float]:  # noqa: ANN401
    spent = []
    for _ in range(runs):
        started = time.perf_counter()
        segment(image)
        spent.append((time.perf_counter() - started) * 1e3)
    return spent[3:]


def _work(options: argparse.Namespace) -> None:
    opened = Segmenter.default(threads=options.threads) if options.model is None else Segmenter(options.model)
    with opened as segmenter:
        segment = segmenter if options.slower == 1 else _Slowed(segmenter, options.slower)
        record = measure(segment, options.source, options.seconds)
    sys.stdout.write(json.dumps({**record, "slower": options.slower}) + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.glass_to_mask", description=__doc__)
    parser.add_argument("source", nargs="?", default="test:640x480@30", help="a stamped source (test:640x480@30)")
    parser.add_argument("--seconds", type=parse_above_zero, default=20.0, help="how long to label (20)")
    parser.add_argument("--model", help="exported model (default: the shipped one)")
    parser.add_argument("--threads", type=positive, help="threads of the run time (default: its own choice)")
    parser.add_argument("--slower", type=parse_above_zero, default=1.0, help="pretend a model so many times slower")
    return run_command(parser, _work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
