"""Half an hour without a leak: ``python -m tests.faults.soak --minutes 30``.

Two commands run side by side: the test pattern as fast as it goes, and a local stream whose server is restarted every
minute. Resident memory of the last two thirds of the time must stay within 2 %.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.making.live_server import LiveServer
from tests.faults.making.rtsp import RtspServer
from tests.faults.making.tiny_model import write_model
from tests.faults.watched import Vitals, Watched, local_stream

_MINUTE = 60.0
_WITHIN = 0.02


def main() -> int:
    """Run, report every minute, and give the verdict."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=int, default=30)
    parser.add_argument("--minute", type=float, default=_MINUTE, help="seconds that count as a minute")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        model = write_model(folder)
        server = local_stream(folder, frames=int(25 * (options.minute + 20)))
        server.start()
        runs = {
            "pattern": Watched(["test:640x480@max"], model, folder),
            "stream": Watched([server.address], model, folder),
        }
        try:
            return _watch(runs, server, options.minutes, options.minute)
        finally:
            for run in runs.values():
                run.stop()
            server.kill()


def _watch(runs: dict[str, Watched], server: LiveServer | RtspServer, minutes: int, minute: float) -> int:
    seen: dict[str, list[Vitals]] = {name: [] for name in runs}
    print(f"{'minute':>6} {'run':8} {'frames':>8} {'MiB':>8} {'descriptors':>12} {'threads':>8} {'reconnected':>12}")
    for number in range(1, minutes + 1):
        time.sleep(minute / 2)
        server.kill()
        server.rewind()
        server.start()
        time.sleep(minute / 2)
        for name, run in runs.items():
            if run.code is not None:
                print(f"{name} ended with exit code {run.code}")
                return 1
            now = run.vitals()
            seen[name].append(now)
            row = f"{number:6} {name:8} {run.frames:8} {now.memory:8.1f} {now.descriptors:12} {now.threads:8}"
            print(f"{row} {run.named('reconnected'):12}", flush=True)
    good = [_verdict(name, rows[len(rows) // 3 :]) for name, rows in seen.items()]
    reconnected = runs["stream"].named("reconnected")
    print(
        f"stream: {reconnected} of {minutes} losses were followed by a reconnection, {runs['stream'].repeated} repeated"
    )
    return 0 if all(good) and reconnected == minutes and not runs["stream"].repeated else 1


def _verdict(name: str, rows: list[Vitals]) -> bool:
    memory = [row.memory for row in rows]
    spread = (max(memory) - min(memory)) / min(memory)
    descriptors = {row.descriptors for row in rows}
    threads = {row.threads for row in rows}
    good = spread <= _WITHIN and max(descriptors) - min(descriptors) <= 1 and max(threads) - min(threads) <= 1
    print(
        f"{name}: memory {min(memory):.1f} to {max(memory):.1f} MiB ({100 * spread:.2f} %), descriptors "
        f"{sorted(descriptors)}, threads {sorted(threads)} in the last two thirds: {'good' if good else 'NOT GOOD'}"
    )
    return good


if __name__ == "__main__":
    sys.exit(main())
