"""Signals at random moments, once or twice."""

from __future__ import annotations

import signal

from tests.faults.bench import Bench
from tests.faults.making.clips import RECIPES, make_clip, make_picture
from tests.faults.process import Place

_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
_FRAMES = 200
_LATEST = 1.0  # seconds after the handlers are set up: some runs are done by then
_STOPPED_WITHIN = 5.0  # seconds; two on an idle machine


def interrupted(bench: Bench) -> None:
    """What was written is finished, the exit code says which signal it was, an earlier output is not spoilt."""
    video = bench.random.random() < 0.7
    if video:
        make_clip(bench.sources / "a.mp4", bench.random.choice(RECIPES["mp4"]), range(_FRAMES))
        arguments, output = ["src/a.mp4"], bench.random.choice(("out", "out/o.mp4", "out/o.mkv"))
    else:
        for number in range(60):
            make_picture(bench.sources / f"{number:02}.png", number)
        arguments, output = ["src"], "out"
    if bench.random.random() < 0.4:
        for name in ("o.mp4", "a_overlay.mp4"):
            (bench.folder / "out").mkdir(exist_ok=True)
            make_clip(bench.folder / "out" / name, RECIPES["mp4"][0], range(300, 309))
    elif "/" in output:
        (bench.folder / "out").mkdir()
    numbers = [bench.random.choice(list(_CODES)) for _ in range(bench.random.choice((1, 1, 1, 2)))]
    delays = [bench.random.random() * _LATEST, bench.random.random() * 0.1]
    early = bench.random.random() < 0.15
    if early:
        delays[0] = bench.random.random() * 0.3
    place = Place(signals=tuple(zip(delays, numbers, strict=False)), early=early)
    outcome, lines = bench.run([*arguments, "-o", output], place)
    bench.check_earlier()
    bench.check_videos(lines, exact=len(numbers) == 1 and not early)
    if len(numbers) == 1 and not early:
        bench.check_numbers(lines, _FRAMES)
    bench.check_complete(outcome, lines, {"a.mp4": _FRAMES} if video else {f"{n:02}.png": 1 for n in range(60)})
    allowed = {_CODES[signal.Signals(number)] for number in numbers}
    sent = outcome.signalled is not None
    if early:  # Python's own handlers, while it starts
        allowed |= set(range(9))
    if outcome.code not in allowed | {0} or (not sent and outcome.code != 0):
        named = [signal.Signals(number).name for number in numbers]
        said = (outcome.messages or b"").strip().splitlines()[-2:]
        bench.violate(f"{' and '.join(named)}: exit code {outcome.code}, expected {sorted(allowed)}: {said!r}"[:300])
    if outcome.signalled is not None and outcome.seconds - outcome.signalled > _STOPPED_WITHIN:
        bench.violate(f"it took {outcome.seconds - outcome.signalled:.1f} s to stop")


KINDS = {"signals": (60, interrupted)}
