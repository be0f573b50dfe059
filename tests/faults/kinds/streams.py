"""Standard streams that are closed, full, or read by somebody who leaves."""

from __future__ import annotations

from tests.faults.bench import Bench
from tests.faults.kinds.disk import fill_sources
from tests.faults.process import Place


def hostile_streams(bench: Bench) -> None:
    """The files asked for are written, whatever becomes of the standard streams."""
    arguments, wanted = fill_sources(bench)
    while True:
        place = Place(
            stdin=bench.random.choice(("null", "closed")),
            stdout=bench.random.choice(("kept", "closed", "full", "head")),
            stderr=bench.random.choice(("kept", "closed", "full")),
        )
        if (place.stdin, place.stdout, place.stderr) != ("null", "kept", "kept"):
            break
    quiet = ["-q"] if bench.random.random() < 0.5 else []
    outcome, lines = bench.run([*arguments, "-o", "out", *quiet], place)
    streams = f"stdin {place.stdin}, stdout {place.stdout}, stderr {place.stderr}"
    results = bench.results(bench.folder / "out")
    if place.stdout == "kept":
        bench.check_videos(lines)
    else:
        bench.check_videos(results)
    for name, frames in wanted.items():
        if len(results.of(name)) != frames:
            bench.violate(f"{streams}: {len(results.of(name))} of {frames} records of {name}, exit code {outcome.code}")
    # Nobody asked for the rest of the lines, or nobody could: only a full device has lost something.
    if outcome.code != 0 and place.stdout != "full" and place.stderr != "full":
        bench.violate(f"{streams}: exit code {outcome.code}, expected 0")


KINDS = {"streams": (40, hostile_streams)}
