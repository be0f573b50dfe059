"""Times labels at frame resolution: the product's way against interpolating every class and taking the arg-max.

``python -m benchmarks.label_times`` prints a table; ``--out FILE`` keeps the measurements as JSON lines. Each case is
first checked: the product's labels have to equal the full evaluation in the defined order of operations in every pixel.
"""

from __future__ import annotations

import statistics
import sys
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.command import run_command
from ifseg_rt.cli.values import positive
from ifseg_rt.errors import IfsegError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GRID = 32


@dataclass(frozen=True)
class Case:
    """One measurement: made-up scores on a 32 x 32 grid, ``smooth`` (areas with soft borders) or ``noise``."""

    content: str
    classes: int
    height: int
    width: int


CASES = tuple(
    Case(content, classes, height, width)
    for height, width in ((480, 640), (1080, 1920))
    for content in ("smooth", "noise")
    for classes in (12, 24, 150)
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = ArgumentParser(
        prog="python -m benchmarks.label_times", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=positive, default=21, help="timed runs of each way; their median counts")
    parser.add_argument("--out", type=Path, help="add the measurements to this JSON-lines file")
    return run_command(parser, _measure, argv)


def scores_of(case: Case) -> NDArray[np.float32]:
    """Return the scores of a case, classes x 32 x 32, the same in every run."""
    import cv2
    import numpy as np

    rng = np.random.default_rng(0)
    if case.content == "noise":
        return rng.random((case.classes, GRID, GRID), dtype=np.float32)
    coarse = rng.normal(size=(case.classes, GRID // 5, GRID // 5)).astype(np.float32)
    planes = np.stack([cv2.resize(plane, (GRID, GRID), interpolation=cv2.INTER_CUBIC) for plane in coarse])
    grown = np.exp(6 * (planes - planes.max(axis=0)))
    return np.asarray(grown / grown.sum(axis=0), dtype=np.float32)


def running_maximum(scores: NDArray[np.float32], height: int, width: int) -> NDArray[Any]:
    """Label with one class after the other against the best so far, every pixel evaluated as defined."""
    import numpy as np

    from ifseg_rt.upsampling.labels import label_type, resize_plane

    labels = np.zeros((height, width), dtype=label_type(len(scores)))
    best = resize_plane(scores[0], height, width)
    plane = np.empty_like(best)
    for index in range(1, len(scores)):
        resize_plane(scores[index], height, width, out=plane)
        labels[plane > best] = index
        np.maximum(plane, best, out=best)
    return labels


def ways_of(case: Case) -> dict[str, Callable[[], Any]]:
    """Return the ways to label a case, the product's first; PyTorch's only where it is installed."""
    import cv2
    import numpy as np

    from ifseg_rt.upsampling.labels import upsample_labels

    scores, height, width = scores_of(case), case.height, case.width
    ways: dict[str, Callable[[], Any]] = {
        "ifseg-rt": lambda: upsample_labels(scores, height, width),
        "running maximum": lambda: running_maximum(scores, height, width),
        "every class, cv2": lambda: np.stack([cv2.resize(plane, (width, height)) for plane in scores]).argmax(axis=0),
    }
    try:
        import torch
    except ImportError:
        return ways
    planes = torch.from_numpy(scores)[None]
    interpolate = torch.nn.functional.interpolate
    ways["every class, torch"] = lambda: interpolate(planes, size=(height, width), mode="bilinear").argmax(dim=1)
    return ways


def _measure(options: Namespace) -> None:
    from benchmarks.records.machine import machine_facts
    from benchmarks.records.store import RecordFile
    from benchmarks.records.tables import labels_table

    file = RecordFile(options.out) if options.out else None
    facts = machine_facts()
    records = []
    for case in CASES:
        ways = ways_of(case)
        if (ways["ifseg-rt"]() != ways["running maximum"]()).any():
            raise IfsegError(f"{case}: the labels differ from the full evaluation")
        spent = {name: _median_ms(way, options.runs if name == "ifseg-rt" else 5) for name, way in ways.items()}
        record: dict[str, Any] = {
            "benchmark": "labels",
            "key": {**vars(case), "grid": GRID, "machine": facts["cpu"]},
            "median_ms": spent,
            "equal": True,
            "machine": facts,
        }
        records.append(record)
        if file is not None:
            file.add(record)
    sys.stdout.write(labels_table(records))


def _median_ms(work: Callable[[], object], runs: int) -> float:
    work()
    spent = []
    for _ in range(runs):
        begin = time.perf_counter()
        work()
        spent.append(1e3 * (time.perf_counter() - begin))
    return round(statistics.median(spent), 3)


if __name__ == "__main__":
    sys.exit(main())
