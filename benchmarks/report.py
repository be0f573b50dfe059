"""Prints stored measurements as Markdown: ``python -m benchmarks.report results.jsonl``.

Stage times stand beside those of the reference implementation, where it was timed with the same model, size and number
of categories; quality records (``benchmarks.miou --json``) become a table of scores.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.command import run_command
from benchmarks.tables import markdown_table, milliseconds, percent
from ifseg_rt.errors import SourceError

REFERENCE = Path(__file__).with_name("reference_timings.json")
_STAGES = ("preprocess", "inference", "refinement", "upsampling")

Record = Mapping[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = ArgumentParser(
        prog="python -m benchmarks.report", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, nargs="+", help="files written by the other benchmarks")
    parser.add_argument("--reference", type=Path, default=REFERENCE, help="figures to compare the stage times with")
    return run_command(parser, _report, argv)


def read_records(path: Path) -> list[Record]:
    """Return the records of a JSON or JSON-lines file.

    Raises:
        SourceError: the file is missing or is no JSON.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from error
    try:
        return [json.loads(text)]
    except json.JSONDecodeError:
        pass
    try:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except json.JSONDecodeError as error:
        raise SourceError(f"{path} is neither JSON nor JSON lines: {error}") from error


def stage_table(records: Sequence[Record], reference: Record) -> str:
    """Return a Markdown table of stage times (median ms) with the reference's time and our speed-up over it."""
    rows = []
    for record in records:
        stages = record["stages_ms"]
        total = stages["total"]
        theirs = reference_row(record, reference)
        rows.append(
            [
                record["model"],
                record["categories"],
                record["size"],
                *(milliseconds(stages[stage]["median"]) for stage in _STAGES),
                milliseconds(total["median"]),
                milliseconds(total["p95"]),
                milliseconds(theirs["total_ms"]) if theirs else "-",
                f"{theirs['total_ms'] / total['median']:.1f}x" if theirs else "-",
            ]
        )
    header = ["model", "categories", "input", *_STAGES, "total", "p95", "reference", "faster by"]
    return markdown_table(header, rows)


def reference_row(record: Record, reference: Record) -> Record | None:
    """Return the reference's row for the same model, number of categories and input size, if it was measured."""
    key = ("model", "categories", "size")
    return next((row for row in reference["rows"] if all(row[k] == record[k] for k in key)), None)


def quality_table(records: Sequence[Record]) -> str:
    """Return a Markdown table of scores in per cent, one line per model and refinement setting."""
    rows = [
        [
            f"{record['dataset']} ({record['pictures']})",
            row["model"],
            "on" if row["refined"] else "off",
            percent(row["miou"]),
            percent(row["all_accuracy"]),
            percent(row["mean_accuracy"]),
        ]
        for record in records
        for row in record["rows"]
    ]
    return markdown_table(["set (pictures)", "model", "refinement", "mIoU", "aAcc", "mAcc"], rows)


def machine_line(record: Record) -> str:
    """Return one line that says what the record was measured on."""
    machine = record["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    where = f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}"
    return f"{where}, Python {machine['python']}, {packages}"


def _report(options: Namespace) -> None:
    records = [record for path in options.results for record in read_records(path)]
    unknown = sorted({str(r.get("benchmark")) for r in records} - {"stages", "miou"})
    if unknown:
        raise SourceError(f"records of an unknown kind: {', '.join(unknown)}", hint="expected stages or miou")
    parts: list[str] = []
    stages = [record for record in records if record["benchmark"] == "stages"]
    if stages:
        reference = read_records(options.reference)[0]
        parts += ["Times in milliseconds (median, total also p95).\n", stage_table(stages, reference)]
        parts.append(f"Reference: {reference['provenance']}\n")
    quality = [record for record in records if record["benchmark"] == "miou"]
    if quality:
        parts.append(quality_table(quality))
    parts += [f"Measured on {line}.\n" for line in dict.fromkeys(machine_line(record) for record in records)]
    sys.stdout.write("\n".join(parts))


if __name__ == "__main__":
    sys.exit(main())
