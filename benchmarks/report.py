"""Writes the tables of docs/results.md from stored measurements; ``--check`` fails where they disagree.

A table stands there between ``<!-- table: NAME -->`` and ``<!-- /table -->``, each on a line of its own; what
is between them is replaced. Records are the JSON and JSON-lines files in ``benchmarks/measured``. With files as
arguments nothing is written: their tables go to stdout.
"""

from __future__ import annotations

import re
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.command import run_command
from benchmarks.gpu.tables import adaptation_table, gpu_table, kernel_table
from benchmarks.records.store import Record, failed, latest, read_folder, read_records
from benchmarks.records.tables import (
    costs_table,
    labels_table,
    latency_table,
    machines,
    peers_table,
    precisions_table,
    quality_table,
    speedup_table,
)
from ifseg_rt.errors import SourceError, UsageError

ROOT = Path(__file__).resolve().parents[1]
MEASURED = Path(__file__).with_name("measured")

# name on the page -> how it is made, and the benchmark whose records it is made from
TABLES: dict[str, tuple[Callable[[Sequence[Record]], str], str]] = {
    "latency": (latency_table, "latency"),
    "costs": (costs_table, "latency"),
    "speedup": (speedup_table, "latency"),
    "peers": (peers_table, "peers"),
    "quality": (quality_table, "miou"),
    "labels": (labels_table, "labels"),
    "precisions": (precisions_table, "precisions"),
    "gpu": (gpu_table, "gpu"),
    "gpu-kernels": (kernel_table, "gpu"),
    "gpu-adaptation": (adaptation_table, "gpu"),
}
_BLOCK = re.compile(r"^<!-- table: (?P<name>[\w-]+) -->\n(?P<body>.*?)^<!-- /table -->$", re.M | re.S)


class StaleReportError(UsageError):
    """The page says something else than the records."""

    exit_code = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = ArgumentParser(
        prog="python -m benchmarks.report", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, nargs="*", help="print the tables of these files instead")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail where the page and the records disagree"
    )
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "results.md", help="the file with the tables")
    parser.add_argument("--records", type=Path, default=MEASURED, help="the folder with the measurements")
    parser.add_argument("--list", action="store_true", help="name the tables and what they are made from")
    return run_command(parser, _report, argv)


def tables_of(records: Sequence[Record]) -> dict[str, str]:
    """Return every table that the records give, its machines named under it.

    Raises:
        SourceError: records of an unknown kind.
    """
    known = {benchmark for _, benchmark in TABLES.values()}
    unknown = sorted({str(record.get("benchmark")) for record in records} - known)
    if unknown:
        raise SourceError(
            f"records of an unknown kind: {', '.join(unknown)}", hint=f"expected {', '.join(sorted(known))}"
        )
    made = {}
    for name, (table, benchmark) in TABLES.items():
        used = [record for record in latest(records) if record["benchmark"] == benchmark]
        text = table(used)
        if text:
            made[name] = f"{text}\n{machines([record for record in used if not failed(record)])}"
    return made


def rewritten(text: str, tables: dict[str, str]) -> str:
    """Return a page with its tables replaced.

    Raises:
        UsageError: a table is asked for that no record gives, or a marker is not closed.
    """
    names = re.findall(r"^<!-- table: ([\w-]+) -->$", text, re.M)
    if len(names) != len(_BLOCK.findall(text)):
        raise UsageError("a <!-- table: NAME --> is not followed by a <!-- /table --> of its own")
    missing = [name for name in names if name not in tables]
    if missing:
        raise UsageError(
            f"there are no measurements for the tables {', '.join(missing)}",
            hint=f"there are for: {', '.join(tables) or 'none'}",
        )
    return _BLOCK.sub(lambda found: f"<!-- table: {found['name']} -->\n{tables[found['name']]}<!-- /table -->", text)


def _report(options: Namespace) -> None:
    if options.list:
        sys.stdout.write("".join(f"{name}: {benchmark}\n" for name, (_, benchmark) in TABLES.items()))
        return
    if options.results:
        records = [record for path in options.results for record in read_records(path)]
        sys.stdout.write("\n".join(tables_of(records).values()))
        return
    try:
        text = options.page.read_text(encoding="utf-8")
    except OSError as error:
        raise SourceError(f"cannot read {options.page}: {error.strerror}") from error
    new = rewritten(text, tables_of(read_folder(options.records)))
    if not options.check:
        options.page.write_text(new, encoding="utf-8")
        return
    if new != text:
        old_lines, new_lines = text.splitlines(), new.splitlines()
        pairs = enumerate(zip(old_lines, new_lines, strict=False), 1)
        line = next((number for number, (old, made) in pairs if old != made), min(len(old_lines), len(new_lines)))
        raise StaleReportError(
            f"{options.page.name} and the records disagree from line {line}", hint="python -m benchmarks.report"
        )


if __name__ == "__main__":
    sys.exit(main())
