"""Hand hostile files and misuse to the real code: ``python -m tests.hostile --seed 1 [--only KIND]``.

Every kind is a module of this folder with ``cases(seed, count)``, which gives names and functions that return what is
wrong, or ``None``. Promised are: no code of a file is run, no foreign error, no hang, no change of weights accepted,
nothing written outside the target.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import sys
import tempfile
import time
from importlib import import_module, util
from pathlib import Path

from tests.hostile.watch import CANARY, judged

COUNTS = {"models": 250, "checkpoints": 150, "pickles": 70, "engines": 150, "misuse": 150, "commands": 100}
_STUCK = 180.0  # seconds; after those even code that Python cannot interrupt ends, with all stacks


def main(arguments: list[str] | None = None) -> int:
    """Go through the cases; 0 without violations."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=sorted(COUNTS), help="one kind")
    parser.add_argument("--count", type=int, help="of each kind (commands: of each command)")
    options = parser.parse_args(arguments)
    os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1")
    violations = 0
    for kind in [options.only] if options.only else COUNTS:
        if util.find_spec(f"tests.hostile.{kind}") is None:
            print(f"{kind:12} not there")
            continue
        found, number, seconds = run_kind(kind, options.seed, options.count or COUNTS[kind])
        print(f"{kind:12} {number} cases, {len(found)} violations, {seconds:.0f} s", flush=True)
        for line in found:
            print(f"  {line}", flush=True)
        violations += len(found)
    return 1 if violations else 0


def run_kind(kind: str, seed: int, count: int) -> tuple[list[str], int, float]:
    """The violations of a kind, how many cases there were, and the seconds they took."""
    began, number, found = time.monotonic(), 0, []
    home = Path.cwd()
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)  # where code of a file would leave its mark
        try:
            for name, case in import_module(f"tests.hostile.{kind}").cases(seed, count):
                number += 1
                faulthandler.dump_traceback_later(_STUCK, exit=True, file=sys.__stderr__)
                violation = judged(case)
                faulthandler.cancel_dump_traceback_later()
                if violation is None and Path(CANARY).exists():
                    violation = "code of the file was run"
                    Path(CANARY).unlink()
                if violation is not None:
                    found.append(f"{kind} seed {seed}, {name}: {violation}")
        finally:
            os.chdir(home)
    return found, number, time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
