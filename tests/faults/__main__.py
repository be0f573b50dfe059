"""Throw faults at the real command: ``python -m tests.faults --seed 7 --faults 1000``."""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from tests.faults.bench import Bench, Tools
from tests.faults.making.clips import PICTURE_SUFFIXES, RECIPES, make_clip, make_picture
from tests.faults.making.tiny_model import write_model
from tests.faults.process import environment
from tests.faults.registry import KINDS, counts

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Report:
    """What one fault came to."""

    kind: str
    number: int
    violations: tuple[str, ...]
    commands: tuple[str, ...]
    seconds: float
    undetectable: bool


def main() -> int:
    """Run the faults; 0 without violations."""
    options = _options()
    if options.case is not None and options.only is None:
        sys.exit("--case needs --only KIND")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        place = Path(folder)
        tools = prepare(place, options.checkout.resolve())
        wanted = list(_wanted(options))
        reports = list(_all_reports(wanted, options.seed, place, tools, options.jobs, keep=options.keep))
    _print_table(reports)
    for report in sorted(reports, key=lambda report: (report.kind, report.number)):
        for text in report.violations:
            print(f"{report.kind} {report.number}: {text}")
        if report.violations:
            print(f"    python -m tests.faults --seed {options.seed} --only {report.kind} --case {report.number}")
            for command in report.commands:
                print(f"    ifseg-rt {command!r}")
    violated = sum(bool(report.violations) for report in reports)
    print(f"seed {options.seed}: {len(reports)} faults, {violated} with violations, {time.monotonic() - began:.0f} s")
    return 1 if violated else 0


def prepare(place: Path, checkout: Path) -> Tools:
    """Make the model and the undamaged clips that all faults share."""
    clips = place / "clips"
    clips.mkdir()
    for container, recipes in RECIPES.items():
        for index, recipe in enumerate(recipes):
            make_clip(clips / f"{container}-{index}.{recipe.suffix}", recipe)
    for suffix in PICTURE_SUFFIXES:
        make_picture(clips / f"picture.{suffix}")
    command = [sys.executable, "-m", "ifseg_rt", "--help"]
    shown = subprocess.run(command, env=environment(checkout, place, {}), capture_output=True, text=True, check=True)
    tools = Tools(checkout, write_model(place), clips, frozenset(re.findall(r"--[a-z-]+", shown.stdout)))
    bench = Bench("none", 0, random.Random(0), place / "none", tools)
    outcome, _ = bench.run([str(clips / "picture.png"), "-o", "out"])
    if outcome.code != 0:
        said = (outcome.messages or b"").decode(errors="replace")
        raise SystemExit(f"the command fails without any fault, exit code {outcome.code}:\n{said}")
    return tools


def run_case(kind: str, number: int, seed: int, place: Path, tools: Tools, keep: bool = False) -> Report:
    """Run one fault in a folder of its own, which is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix=f"{kind}-{number}-", dir=place, ignore_cleanup_errors=True) as folder:
        bench = Bench(kind, number, random.Random(f"{seed} {kind} {number}"), Path(folder), tools)
        try:
            KINDS[kind][1](bench)
        except Exception:
            bench.violate("the harness itself failed: " + traceback.format_exc(limit=-3).strip().replace("\n", " | "))
        if keep:
            _show(bench)
    return Report(kind, number, bench.summary(), tuple(bench.commands), bench.seconds, bench.undetectable)


def _show(bench: Bench) -> None:
    print(f"--- {bench.kind} {bench.number}")
    for outcome in bench.outcomes:
        print(f"exit code {outcome.code} after {outcome.seconds:.2f} s")
        print(
            (outcome.messages or b"").decode(errors="replace"), (outcome.lines or b"").decode(errors="replace"), sep=""
        )
    for path in sorted(bench.folder.rglob("*")):
        if path.is_file():
            print(f"{path.stat().st_size:9d} {os.fsencode(path.relative_to(bench.folder))!r}")


def _all_reports(
    wanted: list[tuple[str, int]], seed: int, place: Path, tools: Tools, jobs: int, *, keep: bool
) -> Iterator[Report]:
    if jobs == 1 or len(wanted) == 1:
        for kind, number in wanted:
            yield run_case(kind, number, seed, place, tools, keep)
        return
    with ProcessPoolExecutor(jobs) as pool:
        waiting = [pool.submit(run_case, kind, number, seed, place, tools, keep) for kind, number in wanted]
        for done, future in enumerate(as_completed(waiting), 1):
            yield future.result()
            if sys.stderr.isatty():
                print(f"\r{done} of {len(wanted)}", end="", file=sys.stderr)


def _wanted(options: argparse.Namespace) -> Iterator[tuple[str, int]]:
    if options.case is not None:
        yield options.only, options.case
        return
    for kind, count in counts(options.faults).items():
        if options.only in (None, kind):
            yield from ((kind, number) for number in range(count))


def _print_table(reports: list[Report]) -> None:
    by_kind: dict[str, list[Report]] = defaultdict(list)
    for report in reports:
        by_kind[report.kind].append(report)
    print(f"{'kind':12} {'faults':>7} {'violated':>9} {'undetectable':>13} {'worst seconds':>14}")
    for kind in (kind for kind in KINDS if kind in by_kind):
        rows = by_kind[kind]
        violated = sum(bool(row.violations) for row in rows)
        silent = sum(row.undetectable for row in rows)
        worst = max(row.seconds for row in rows)
        print(f"{kind:12} {len(rows):7} {violated:9} {silent:13} {worst:14.1f}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--faults", type=int, default=1000, help="damaged files; the other kinds come on top")
    parser.add_argument("--only", choices=sorted(KINDS), help="one kind of fault")
    parser.add_argument("--case", type=int, metavar="N", help="with --only: one fault")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--show", dest="keep", action="store_true", help="show what the command said and left")
    parser.add_argument("--checkout", type=Path, default=ROOT, help="whose ifseg_rt is run (default: this one)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
