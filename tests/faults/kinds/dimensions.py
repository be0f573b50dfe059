"""Files without content, pictures of one pixel, of 8K and of absurd sizes; a size that changes in mid-stream."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from tests.faults.bench import Bench
from tests.faults.making.clips import PICTURE_SUFFIXES, RECIPES, Recipe, make_clip, write_clip
from tests.faults.process import Outcome
from tests.faults.reading import read
from tests.faults.records import Lines

_LOSSLESS = Recipe("avi", "rawvideo", pixels="bgr24")
_JPEGS = Recipe("avi", "mjpeg", (("qmin", "2"), ("qmax", "4")))


def odd_size(bench: Bench) -> None:
    """Empty files, one pixel, thin lines, 8K, a declared size that would take gigabytes."""
    chosen = bench.random.choice((empty, tiny_picture, tiny_video, huge_picture, huge_video, declared_only))
    chosen(bench)


def _noise(bench: Bench, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(bench.random.randrange(1 << 30)).integers(0, 255, (height, width, 3), np.uint8)


def _small(bench: Bench) -> tuple[int, int]:
    return bench.random.choice(((1, 1), (1, 2), (2, 1), (2, 2), (3, 5), (1, 3000), (3000, 1), (17, 33)))


def empty(bench: Bench) -> None:
    """A file of no bytes, alone or beside a good picture."""
    suffix = bench.random.choice((*PICTURE_SUFFIXES, "mp4", "mkv", "ts", "avi", "gif"))
    path = bench.sources / f"empty.{suffix}"
    path.write_bytes(b"")
    if bench.random.random() < 0.5:
        outcome, lines = bench.run(["src/empty." + suffix, "-o", "out"])
    else:
        _picture(bench.sources / "good.png", _noise(bench, 60, 80))
        outcome, lines = bench.run(["src", "-o", "out"])
        if len(lines.frames) != 1:
            bench.violate(f"the good picture beside an empty file gave {len(lines.frames)} records")
    if outcome.code != 3:
        bench.violate(f"an empty .{suffix}: exit code {outcome.code}, expected 3")
    bench.check_videos(lines)


def _picture(path: Path, image: np.ndarray) -> Path:
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
    return path


def tiny_picture(bench: Bench) -> None:
    """A picture of one pixel, or of one row."""
    suffix = bench.random.choice(PICTURE_SUFFIXES)
    path = _picture(bench.sources / f"tiny.{suffix}", _noise(bench, *_small(bench)))
    _must_work(bench, path, 1, bench.random.choice(("out", "out.png")))


def tiny_video(bench: Bench) -> None:
    """A video of one pixel, or of one row."""
    height, width = _small(bench)
    path = bench.sources / "tiny.avi"
    write_clip(path, _LOSSLESS, (_noise(bench, height, width) for _ in range(5)))
    _must_work(bench, path, 5, bench.random.choice(("out", "out.mp4", "out.mkv", "out.avi")))


def huge_picture(bench: Bench) -> None:
    """A picture of 8K."""
    image = cv2.resize(_noise(bench, 43, 77), (7680, 4320))
    path = _picture(bench.sources / bench.random.choice(("huge.jpg", "huge.bmp")), image)
    _must_work(bench, path, 1, "out")


def huge_video(bench: Bench) -> None:
    """Two frames of 8K."""
    image = cv2.resize(_noise(bench, 43, 77), (7680, 4320))
    write_clip(bench.sources / "huge.avi", _JPEGS, (image for _ in range(2)))
    _must_work(bench, bench.sources / "huge.avi", 2, "out")


def declared_only(bench: Bench) -> None:
    """A PNG of a few bytes that declares 144 million pixels or more: refused, before it takes memory."""
    side = bench.random.choice((12_000, 40_000, 65_535, 1_000_000))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(min(side * (side // 8 + 1), 20_000_000)))
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    (bench.sources / "bomb.png").write_bytes(data)
    outcome, lines = bench.run(["src/bomb.png", "-o", "out"])
    if outcome.code != 3 or lines.frames:
        bench.violate(f"a PNG that declares {side} x {side}: exit code {outcome.code}, expected 3")


def _must_work(bench: Bench, path: Path, frames: int, output: str) -> tuple[Outcome, Lines]:
    outcome, lines = bench.run([str(path.relative_to(bench.folder)), "-o", output])
    bench.check_videos(lines)
    bench.check_complete(outcome, lines, {path.name: frames})
    if outcome.code != 0:
        said = (outcome.messages or b"").strip().splitlines()[-2:]
        bench.violate(f"{path.name}: exit code {outcome.code}, expected 0: {said!r}"[:300])
    return outcome, lines


def resized(bench: Bench) -> None:
    """The size of the frames changes in mid-stream: every frame is in some output, and the run goes on."""
    sizes = [
        bench.random.choice(((96, 160), (64, 96), (120, 90), (98, 162))) for _ in range(bench.random.randint(2, 4))
    ]
    kind = bench.random.choice(("mjpeg", "ts", "h264"))
    data, frames = b"", 0
    for number, (height, width) in enumerate(sizes):
        count = bench.random.randint(1, 9)
        frames += count
        images = [_noise(bench, 6, 8) for _ in range(count)]
        pictures = [cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC) for image in images]
        if kind == "mjpeg":
            data += b"".join(cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures)
            continue
        part = bench.folder / f"part{number}.{kind}"
        write_clip(part, Recipe(kind, "libx264", (("preset", "ultrafast"), ("tune", "zerolatency"))), pictures)
        data += part.read_bytes()
        part.unlink()
    path = bench.sources / f"resized.{kind}"
    path.write_bytes(data)
    found = len(read(path).numbers)
    outcome, lines = bench.run(
        [f"src/resized.{kind}", "-o", bench.random.choice(("out", "out.mp4", "out.mkv", "out.avi"))]
    )
    bench.check_videos(lines)
    bench.check_complete(outcome, lines, {path.name: min(found, frames)})
    if outcome.code != 0:
        said = (outcome.messages or b"").strip().splitlines()[-2:]
        bench.violate(f"sizes {sizes}: exit code {outcome.code}, expected 0: {said!r}"[:300])


def several(bench: Bench) -> None:
    """A folder with good and bad files: the good ones are done, the bad ones named, the exit code is 3."""
    wanted: dict[str, int] = {}
    bad = 0
    for number in range(bench.random.randint(3, 6)):
        kind: Callable[[], None] | str = bench.random.choice(("clip", "picture", "noise", "empty", "text"))
        if kind == "clip":
            recipe = bench.random.choice(RECIPES["mp4"])
            make_clip(bench.sources / f"{number}.mp4", recipe, range(8))
            wanted[f"{number}.mp4"] = 8
        elif kind == "picture":
            _picture(bench.sources / f"{number}.png", _noise(bench, 50, 70))
            wanted[f"{number}.png"] = 1
        elif kind == "text":
            (bench.sources / f"{number}.txt").write_text("notes")
        else:
            bad += 1
            suffix = bench.random.choice(("mp4", "jpg", "png", "mkv", "tif"))
            (bench.sources / f"{number}.{suffix}").write_bytes(bench.random.randbytes(900) if kind == "noise" else b"")
    outcome, lines = bench.run(["src", "-o", "out"])
    bench.check_videos(lines)
    for name, frames in wanted.items():
        if len(lines.of(name)) != frames:
            bench.violate(f"{len(lines.of(name))} of {frames} frames of {name} were labelled beside bad files")
    expected = 3 if bad or not wanted else 0
    if outcome.code != expected:
        bench.violate(f"{bad} bad and {len(wanted)} good files: exit code {outcome.code}, expected {expected}")


KINDS = {"sizes": (30, odd_size), "resized": (20, resized), "folders": (30, several)}
