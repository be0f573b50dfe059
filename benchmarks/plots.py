"""Scaling curves as pictures: ``python -m benchmarks.plots`` after ``python -m benchmarks.latency --sweep ...``.

One PNG per setting that was varied (size, classes, threads, batch, streams), one curve per model, precision and back
end. Wherever the records hold several values of a setting and the same of everything else, there is a curve. Without
``--values``, the sweep over sizes goes from 256 to 1024, over categories from 1 to 1000, over threads up to the cores,
over batches to 8 and over streams to twice the cores.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.command import run_command
from benchmarks.records.chart import Curve, draw_chart
from benchmarks.records.store import RESULTS, Record, failed, key_text, latest, read_records
from benchmarks.speed.sweeps import SWEEPS
from ifseg_rt.cli.values import parse_size
from ifseg_rt.errors import SourceError

_WAYS = {"batch": "session", "streams": "streams"}
_FEWEST_POINTS = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = ArgumentParser(
        prog="python -m benchmarks.plots", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("records", type=Path, nargs="*", default=[RESULTS / "sweeps.jsonl"], help="files of benchmarks.latency")
    add("--out", type=Path, default=RESULTS, help="folder for the pictures")
    return run_command(parser, _plot, argv)


def curves(records: Sequence[Record], sweep: str) -> list[Curve]:
    """Return the curves over one setting, by name.

    Args:
        records: of ``benchmarks.latency``.
        sweep: a key of :data:`benchmarks.speed.sweeps.SWEEPS`.
    """
    groups: dict[str, list[Record]] = {}
    for record in latest(records):
        if record.get("benchmark") != "latency" or failed(record) or not _is_of(record, sweep):
            continue
        others = {name: value for name, value in record["key"].items() if name != SWEEPS[sweep].field}
        groups.setdefault(key_text(others), []).append(record)
    found = []
    for group in groups.values():
        points = sorted((_x(record, sweep), _y(record, sweep)) for record in group)
        if len({x for x, _ in points}) >= _FEWEST_POINTS:
            found.append(Curve(_name(group[0], sweep), tuple(points)))
    return sorted(found, key=lambda curve: curve.name)


def draw(records: Sequence[Record], sweep: str, path: Path) -> bool:
    """Write the chart of one setting; ``False`` where the records hold no curve over it.

    Raises:
        UsageError: matplotlib is missing.
        SourceError: the picture cannot be written.
    """
    found = curves(records, sweep)
    if not found:
        return False
    machines = {record["key"]["machine"] for record in records if "key" in record and "machine" in record["key"]}
    axis = SWEEPS[sweep]
    several = len(found) > 1
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_chart(
        path,
        f"{_TITLES[sweep]} by {axis.title}",
        axis.title,
        _UNITS[sweep],
        found,
        "measured on " + "; ".join(sorted(machines)),
        log_x=axis.logarithmic,
        log_y=several and sweep != "streams",  # tiny and base differ sevenfold
    )
    return True


_TITLES = dict.fromkeys(SWEEPS, "Latency") | {"batch": "Network time", "streams": "Throughput"}
_UNITS = dict.fromkeys(SWEEPS, "frame to labels, median ms") | {
    "batch": "network, median ms per picture",
    "streams": "frames per second, all streams together",
}


def _is_of(record: Record, sweep: str) -> bool:
    """Batches and streams are measured in ways of their own, the others in the product's or the plain one's."""
    way = record["key"]["way"]
    return bool(way == _WAYS[sweep]) if sweep in _WAYS else way in ("segmenter", "plain")


def _x(record: Record, sweep: str) -> float:
    value: Any = record["key"][SWEEPS[sweep].field]
    if sweep == "size":
        height, width = parse_size(value)
        return float((height * width) ** 0.5)
    return float(value)


def _y(record: Record, sweep: str) -> float:
    if sweep == "streams":
        return float(record["frames_per_second"])
    if sweep == "batch":
        return float(record["stages_ms"]["inference"]["median"] / record["key"]["batch"])
    return float(record["stages_ms"]["total"]["median"])


def _name(record: Record, sweep: str) -> str:
    key = record["key"]
    parts = [key["model"].split(" ")[0], key["precision"]]
    parts += [key["size"]] if sweep != "size" else []
    parts += [f"{key['classes']} cat."] if sweep != "classes" else []
    parts += ["plain PyTorch"] if key["way"] == "plain" else []
    parts += [f"{key['threads']} thr."] if key["threads"] and sweep not in ("threads", "streams") else []
    return " ".join(parts)


def _plot(options: Namespace) -> None:
    records = [record for path in options.records for record in read_records(path)]
    written = [path for sweep in SWEEPS if draw(records, sweep, path := options.out / f"latency_{sweep}.png")]
    if not written:
        raise SourceError(
            "the records hold no setting with more than one value",
            hint=f"python -m benchmarks.latency --sweep {'|'.join(SWEEPS)}",
        )
    sys.stdout.write("".join(f"{path}\n" for path in written))


if __name__ == "__main__":
    sys.exit(main())
