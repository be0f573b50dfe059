"""A server that dies again and again: ``python -m tests.faults.reconnects --restarts 20 --minutes 5``.

The run goes on; every loss is told, and every return; no number comes twice; memory and descriptors stay. At the end
the server freezes, which must be noticed within the read timeout and half a second.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.making.live_server import LiveServer
from tests.faults.making.rtsp import RtspServer
from tests.faults.making.tiny_model import write_model
from tests.faults.watched import Watched, local_stream

_READ_TIMEOUT = 2.0
_FIRST_FRAME = 3.0  # seconds after the server answers, and what is left of the back-off
_FIRST_WAIT, _LONGEST_WAIT, _JITTER = 0.5, 10.0, 1.5
_LEAKED = 1.05  # of the memory after the first quarter


def main() -> int:
    """Run, tell every restart, and give the verdict."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.reconnects", description=__doc__)
    parser.add_argument("--restarts", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--frozen", type=float, default=30.0, help="seconds of the freeze at the end; 0 leaves it out")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="reconnects-") as name:
        folder = Path(name)
        model = write_model(folder)
        server = local_stream(folder, frames=4000)
        server.start()
        run = Watched([server.address], model, folder)
        try:
            wrong = _restarts(run, server, options)
            if options.frozen:
                wrong += _freeze(run, server, options.frozen)
            code, seconds = run.stop()
            print(f"Ctrl-C: exit code {code} after {seconds:.2f} s")
            if code != 130 or seconds > 2:
                wrong.append(f"Ctrl-C: exit code {code} after {seconds:.2f} s, expected 130 within 2 s")
        finally:
            run.stop()
            server.thaw()
            server.kill()
    print(*wrong, sep="\n")
    print("NOT GOOD" if wrong else "good")
    return 1 if wrong else 0


def _restarts(run: Watched, server: LiveServer | RtspServer, options: argparse.Namespace) -> list[str]:
    chance = random.Random(options.seed)
    wrong: list[str] = []
    if run.wait_for_frame(0, 30) is None:
        return ["no frame came within 30 s of the start"]
    share = options.minutes * 60 / options.restarts
    early = run.vitals()
    for number in range(1, options.restarts + 1):
        until = time.monotonic() + share
        time.sleep(chance.uniform(0.05, 0.4) * share)
        server.kill()
        killed = time.monotonic()
        time.sleep(min(chance.uniform(0, 4), share / 4))
        server.rewind()
        server.start()
        answered = time.monotonic()
        back_off = min(_LONGEST_WAIT, answered - killed + _FIRST_WAIT) * _JITTER
        first = run.wait_for_frame(answered, 30)
        took = "no frame" if first is None else f"{first - answered:.2f} s"
        now = run.vitals()
        print(
            f"{number:3}: away {answered - killed:.2f} s, first frame after {took} (back-off up to {back_off:.1f} s); "
            f"{now.memory:.1f} MiB, {now.descriptors} descriptors, {now.threads} threads",
            flush=True,
        )
        if first is None or first - answered > _FIRST_FRAME + back_off:
            wrong.append(f"restart {number}: first frame after {took}")
        if number == max(1, options.restarts // 4):
            early = now
        time.sleep(max(0.0, until - time.monotonic()))
    now = run.vitals()
    lost, back = run.named("lost"), run.named("reconnected")
    print(f"{run.frames} frames, {lost} lost, {back} reconnected, {run.repeated} repeated numbers; {early} -> {now}")
    if (lost, back) != (options.restarts, options.restarts):
        wrong.append(f"{options.restarts} restarts gave {lost} lost and {back} reconnected")
    if run.repeated:
        wrong.append(f"{run.repeated} records repeat a number")
    if now.memory > early.memory * _LEAKED or now.descriptors > early.descriptors or now.threads > early.threads:
        wrong.append(f"held after a quarter: {early}, at the end: {now}")
    return wrong


def _freeze(run: Watched, server: LiveServer | RtspServer, seconds: float) -> list[str]:
    lost = run.named("lost")
    server.freeze()
    time.sleep(0.3)  # what was on its way
    last = run.last
    time.sleep(seconds)
    server.thaw()
    noticed = [moment for moment, event in run.events if event["event"] == "lost"][lost:]
    if not noticed:
        return [f"a freeze of {seconds:.0f} s was not noticed"]
    print(f"frozen: noticed {noticed[0] - last:.2f} s after the last frame (read timeout {_READ_TIMEOUT} s)")
    wrong = []
    if noticed[0] - last > _READ_TIMEOUT + 0.5:
        wrong.append(f"a freeze was noticed only after {noticed[0] - last:.2f} s")
    if run.wait_for_frame(time.monotonic(), 30) is None:
        wrong.append("no frame came within 30 s of the end of the freeze")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
