"""Damaged bytes in videos and pictures, and files that end too early."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ifseg_rt.native_noise import native_noise_hidden
from tests.faults.bench import Bench
from tests.faults.making.clips import FRAMES, PICTURE_SUFFIXES, RECIPES
from tests.faults.making.numbering import numbered
from tests.faults.process import Outcome
from tests.faults.reading import Reading, numbers_shown, read
from tests.faults.records import Lines

_TS_PACKET = 188
_JPEG_NOISE = 12.0  # mean difference from the picture drawn that compression alone never makes


def damage(data: bytes, chance: random.Random, *, packet: int | None = None) -> bytes:
    """Damage a file in one of nine ways, all of them seen in the field."""
    spoilt = bytearray(data)
    start = chance.choice((0, 0, min(1024, len(data) // 2)))  # half of the time, headers are spared

    def place(length: int = 1) -> int:
        return chance.randrange(start, max(start + 1, len(spoilt) - length))

    way = chance.randrange(9)
    if way <= 2:  # bytes of noise
        for _ in range(chance.choice((1, 3, 10, 40))):
            spoilt[place()] = chance.randrange(256)
    elif way == 3:  # single bits
        for _ in range(chance.choice((1, 2, 8))):
            spoilt[place()] ^= 1 << chance.randrange(8)
    elif way == 4:  # a sector of zeros
        length = min(chance.choice((16, 512, 4096)), len(spoilt) // 4)
        at = place(length)
        spoilt[at : at + length] = bytes(length)
    elif way == 5:  # a piece is missing
        length = min(chance.choice((1, 16, 188, 1500)), len(spoilt) // 4)
        at = place(length)
        del spoilt[at : at + length]
    elif way == 6:  # a piece too much
        at = place()
        spoilt[at:at] = chance.randbytes(chance.choice((1, 16, 512)))
    elif packet is None:  # two pieces change places
        length = min(512, len(spoilt) // 4)
        one, other = place(length), place(length)
        spoilt[one : one + length], spoilt[other : other + length] = (
            spoilt[other : other + length],
            spoilt[one : one + length],
        )
    else:  # a network loses or repeats packets
        at = place() // packet * packet
        length = packet * chance.choice((1, 2, 7))
        if way == 7:
            del spoilt[at : at + length]
        else:
            spoilt[at:at] = spoilt[at : at + length]
    return bytes(spoilt)


def whole_clip(bench: Bench, container: str) -> Path:
    """One of the undamaged clips of a container."""
    index = bench.random.randrange(len(RECIPES[container]))
    return bench.tools.clips / f"{container}-{index}.{RECIPES[container][index].suffix}"


def wishes(bench: Bench) -> list[str]:
    """A place for the output, and perhaps what becomes of damaged frames."""
    chosen = ["-o", bench.random.choice(("out", "out.mp4", "out.mkv"))]
    policy = bench.random.choice(("default", "skip", "keep"))
    if policy != "default" and bench.knows("--corrupt"):
        chosen += ["--corrupt", policy]
    return chosen


def corrupt_video(bench: Bench, container: str) -> None:
    """A clip with damaged bytes."""
    clip = whole_clip(bench, container)
    path = bench.sources / f"clip{clip.suffix}"
    path.write_bytes(damage(clip.read_bytes(), bench.random, packet=_TS_PACKET if container == "ts" else None))
    run_on_damaged(bench, path)


def truncated(bench: Bench) -> None:
    """A clip or picture that ends too early."""
    if bench.random.random() < 0.3:
        suffix = bench.random.choice(PICTURE_SUFFIXES)
        path = bench.sources / f"picture.{suffix}"
        data = (bench.tools.clips / f"picture.{suffix}").read_bytes()
        path.write_bytes(data[: bench.random.randrange(len(data))])
        run_on_damaged_picture(bench, path)
        return
    clip = whole_clip(bench, bench.random.choice(sorted(RECIPES)))
    data = clip.read_bytes()
    path = bench.sources / f"clip{clip.suffix}"
    path.write_bytes(data[: bench.random.randrange(len(data))])
    run_on_damaged(bench, path)


def run_on_damaged(bench: Bench, path: Path) -> None:
    """Label a damaged clip and compare with what an independent reader sees."""
    outcome, lines = bench.run([str(path.relative_to(bench.folder)), *wishes(bench)])
    bench.check_videos(lines)
    judge(bench, outcome, lines, read(path), FRAMES)
    judge_numbers(bench, lines, [read(path), read(path, strict=True)], FRAMES)


def judge(bench: Bench, outcome: Outcome, lines: Lines, reading: Reading, frames: int) -> None:
    """Nothing silent: damaged frames are counted, missing ones said, none invented, repeated or out of order."""
    delivered, reported = len(lines.frames), lines.damaged()
    if not delivered and outcome.code == 0:
        bench.violate("exit code 0, but no frame was delivered")
    if not delivered and reading.suspect.count(False) > 1:
        bench.violate(f"nothing was delivered, but {reading.suspect.count(False)} sound frames are readable")
    if delivered and reading.damaged > reported:
        bench.violate(f"{reading.damaged} damaged frames ({reading.undecodable} undecodable), {reported} reported")
    told = outcome.code != 0 or reported or lines.events
    if delivered < frames and not told:
        if reading.sound and len(reading.numbers) <= delivered:
            bench.undetectable = True
        else:
            bench.violate(f"{delivered} of {frames} frames delivered, exit code 0, and nothing said")


def judge_numbers(bench: Bench, lines: Lines, readings: Sequence[Reading], frames: int) -> None:
    """No picture claimed to be sound is wrong, where any of the independent readers could notice."""
    shown: list[int | None] = []
    for name, records in lines.claims().items():
        path = bench.holder(name)
        if path is not None:
            pairs = zip(records, numbers_shown(path), strict=False)
            shown += [number for record, number in pairs if not record.get("damaged")]
    seen = [
        [number for number, suspect in zip(reading.numbers, reading.suspect, strict=True) if not suspect]
        for reading in readings
    ]
    for what, count in (("unreadable", _unreadable), ("repeated, reordered or invented", _out_of_order)):
        ours, unavoidable = count(shown, frames), min(count(numbers, frames) for numbers in seen)
        if ours > unavoidable:
            bench.violate(f"{ours} pictures claimed to be sound are {what} ({unavoidable} cannot be noticed)")
        elif ours:
            bench.undetectable = True


def _unreadable(numbers: list[int | None], frames: int) -> int:
    return sum(number is None for number in numbers)


def _out_of_order(numbers: list[int | None], frames: int) -> int:
    wrong, last = 0, -1
    for number in numbers:
        if number is not None:
            wrong += not last < number < frames
            last = max(last, number)
    return wrong


def corrupt_picture(bench: Bench) -> None:
    """A picture with damaged bytes."""
    suffix = bench.random.choice(PICTURE_SUFFIXES)
    path = bench.sources / f"picture.{suffix}"
    path.write_bytes(damage((bench.tools.clips / f"picture.{suffix}").read_bytes(), bench.random))
    run_on_damaged_picture(bench, path)


def run_on_damaged_picture(bench: Bench, path: Path) -> None:
    """Label a damaged picture; what is not as it was drawn must be refused or marked, as far as it can be noticed."""
    output = bench.random.choice(("out", "out.png"))
    outcome, lines = bench.run([str(path.relative_to(bench.folder)), "-o", output])
    bench.check_videos(lines)
    told = outcome.code != 0 or lines.damaged()
    if not lines.frames and outcome.code == 0:
        bench.violate("exit code 0, but the picture was not labelled")
    if not told and not _as_drawn(path):
        complaint = _complaint(path)
        if complaint is None:
            bench.undetectable = True
        else:
            bench.violate(f"a damaged picture was labelled as if sound ({complaint})")


def _as_drawn(path: Path) -> bool:
    with native_noise_hidden():
        picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    drawn = numbered(0)
    if picture is None or picture.shape != drawn.shape:
        return False
    difference = np.abs(picture.astype(int) - drawn).reshape(12, 8, 20, 8, 3).mean(axis=(1, 3, 4))
    return bool(difference.max() < _JPEG_NOISE)


def _complaint(path: Path) -> str | None:
    """What Pillow or a strict FFmpeg has against the file; ``None`` where they see nothing wrong."""
    try:
        with native_noise_hidden(), Image.open(io.BytesIO(path.read_bytes())) as picture:
            picture.load()
    except Exception as error:  # Pillow raises whatever its plugins raise
        return f"Pillow: {type(error).__name__}: {error}"[:100]
    reading = read(path, strict=True)
    return None if reading.opened and not reading.damaged and not reading.cut else "FFmpeg finds it damaged"


def _video(container: str) -> Callable[[Bench], None]:
    return lambda bench: corrupt_video(bench, container)


KINDS = {
    "mp4": (200, _video("mp4")),
    "mkv": (200, _video("mkv")),
    "ts": (200, _video("ts")),
    "mjpeg": (200, _video("mjpeg")),
    "pictures": (200, corrupt_picture),
    "truncated": (100, truncated),
}
