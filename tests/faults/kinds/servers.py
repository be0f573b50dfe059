"""Servers that die, freeze, come back, send noise, or were never there."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from itertools import pairwise

from tests.faults.bench import Bench
from tests.faults.making.live_server import LIVE_FRAMES, LiveServer, make_live_clip
from tests.faults.making.rtsp import RtspServer, python_with_gstreamer
from tests.faults.process import Outcome, Place
from tests.faults.reading import numbers_shown
from tests.faults.records import Lines

_SECRETS = (b"hunter2", b"s3cr3t")
_READ_TIMEOUT = 2.0


def faulty_server(bench: Bench) -> None:
    """One of the ways in which a live source fails."""
    chosen: Callable[[Bench], None] = bench.random.choice((restarted, restarted, frozen, gone, absent, late, noisy))
    chosen(bench)


def _any_server(bench: Bench) -> LiveServer | RtspServer:
    """A server by HTTP, or by RTSP where that is possible here."""
    python = python_with_gstreamer()
    if bench.random.random() < 0.3 and python is not None:
        return RtspServer(python)
    return _server(bench)


def _server(bench: Bench, answer: str = "ok") -> LiveServer:
    clip = bench.tools.clips / "live.mkv"
    if not clip.exists():
        make_live_clip(clip.with_name(f"live-{bench.number}.mkv")).replace(clip)
    return LiveServer(bench.random.choice(("ts", "mjpeg")), clip, answer=answer)


def _address(server: LiveServer | RtspServer) -> str:
    robot, token = _SECRETS[0].decode(), _SECRETS[1].decode()
    return server.address.replace("://", f"://robot:{robot}@") + f"?token={token}"


def _run(
    bench: Bench, server: LiveServer | RtspServer, more: list[str], act: Callable[[], None] | None = None
) -> tuple[Outcome, Lines]:
    def later(process: subprocess.Popen[bytes]) -> None:
        if act is not None:
            server.wait_for_viewer(20)
            act()

    try:
        output = bench.random.choice(("out", "out.mp4", "out.mkv"))
        outcome, lines = bench.run([_address(server), "-o", output, *more], Place(act=later))
    finally:
        server.thaw()
        server.kill()
    bench.check_videos(lines)
    for secret in _SECRETS:
        said = (outcome.messages or b"") + (outcome.lines or b"")
        if secret in said or any(secret.decode() in str(path) for path in bench.folder.rglob("*")):
            bench.violate(f"{secret.decode()!r} of the address is shown")
    if isinstance(server, LiveServer):
        _check_numbers(bench, lines)
    return outcome, lines


def _check_numbers(bench: Bench, lines: Lines) -> None:
    shown: list[int | None] = []
    for name, records in lines.claims().items():
        path = bench.holder(name)
        if path is not None:
            pairs = zip(records, numbers_shown(path), strict=False)
            shown += [number for record, number in pairs if not record.get("damaged")]
    sound = [number for number in shown if number is not None]
    if any(not before < after < LIVE_FRAMES for before, after in pairwise(sound)):
        bench.violate(f"frames repeated, reordered or invented: {sound}"[:300])
    if len(sound) < len(shown):
        bench.violate(f"{len(shown) - len(sound)} damaged pictures claimed to be sound")


def _expect(bench: Bench, outcome: Outcome, lines: Lines, code: int, frames: int | None, *, losses: int | None) -> None:
    if outcome.code != code:
        said = (outcome.messages or b"").strip().splitlines()[-2:]
        bench.violate(f"exit code {outcome.code}, expected {code}: {said!r}"[:300])
    if frames is not None and len(lines.frames) != frames:
        bench.violate(f"{len(lines.frames)} frames labelled, expected {frames}")
    lost, back = len(lines.events_of("lost")), len(lines.events_of("reconnected"))
    if losses is not None and (lost != losses or back != (losses if code == 0 else lost - 1)):
        bench.violate(f"{losses} losses gave {lost} lost and {back} reconnected")


def restarted(bench: Bench) -> None:
    """The server dies once or twice, and comes back."""
    server = _any_server(bench)
    server.start()
    times = bench.random.choice((1, 2))
    pauses = [(bench.random.uniform(0.1, 1), bench.random.uniform(0.1, 1.5)) for _ in range(times)]
    abruptly = bench.random.random() < 0.5
    done = []

    def act() -> None:
        for before, away in pauses:
            time.sleep(before)
            server.kill(abruptly=abruptly)
            time.sleep(away)
            server.start()
            server.wait_for_viewer(20)
            time.sleep(0.5)
            done.append(away)

    outcome, lines = _run(bench, server, ["--max-frames", "100"], act)
    _expect(bench, outcome, lines, 0, 100, losses=times)


def frozen(bench: Bench) -> None:
    """Nothing comes for a while, and the connection stays: short pauses are none of our business, long ones a loss."""
    server = _any_server(bench)
    server.start()
    long = bench.random.random() < 0.6

    def act() -> None:
        time.sleep(bench.random.uniform(0.1, 1))
        server.freeze()
        time.sleep(_READ_TIMEOUT + 1.5 if long else _READ_TIMEOUT / 4)
        server.thaw()

    outcome, lines = _run(bench, server, ["--max-frames", "80"], act)
    _expect(bench, outcome, lines, 0, 80, losses=None if long else 0)
    if long and not lines.events_of("lost"):
        bench.violate(f"silence of {_READ_TIMEOUT + 1.5} s was not noticed")


def gone(bench: Bench) -> None:
    """The server dies and stays away: after the attempts allowed the run ends with what it has."""
    server = _any_server(bench)
    server.start()

    def act() -> None:
        time.sleep(bench.random.uniform(0.2, 1))
        server.kill(abruptly=bench.random.random() < 0.5)

    outcome, lines = _run(bench, server, ["--max-retries", "2"], act)
    _expect(bench, outcome, lines, 3, None, losses=1)
    if not lines.frames:
        bench.violate("no frame was labelled before the server went away")


def absent(bench: Bench) -> None:
    """Nobody listens, or somebody who sends no pictures."""
    answer = bench.random.choice(("nobody", "404", "html", "silent"))
    server = _server(bench, answer)
    if answer != "nobody":
        server.start()
    outcome, lines = _run(bench, server, ["--max-retries", "0"])
    _expect(bench, outcome, lines, 3, 0, losses=None)
    if outcome.seconds > 15:
        bench.violate(f"{answer}: it took {outcome.seconds:.0f} s to say so")


def late(bench: Bench) -> None:
    """With ``--wait``, the server may come later."""
    server = _server(bench)

    def act(process: subprocess.Popen[bytes]) -> None:
        time.sleep(bench.random.uniform(0.5, 3))
        server.start()

    try:
        outcome, lines = bench.run([_address(server), "--wait", "--max-frames", "20", "-o", "out"], Place(act=act))
    finally:
        server.kill()
    bench.check_videos(lines)
    _expect(bench, outcome, lines, 0, 20, losses=None)


def noisy(bench: Bench) -> None:
    """Noise in the stream: damaged frames are counted, and the run goes on."""
    server = _server(bench)
    server.start()

    def act() -> None:
        for _ in range(3):
            time.sleep(bench.random.uniform(0.1, 0.8))
            server.spoil(bench.random.choice((20, 300, 3000)))

    outcome, lines = _run(bench, server, ["--max-frames", "70"], act)
    _expect(bench, outcome, lines, 0, 70, losses=None)
    if not lines.damaged() and not lines.events_of("lost"):
        bench.undetectable = True


KINDS = {"servers": (40, faulty_server)}
