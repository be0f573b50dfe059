"""A disk that is full after any number of bytes, and places that cannot be written or read."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.bench import Bench
from tests.faults.making.clips import RECIPES, make_clip, make_picture
from tests.faults.process import Outcome, Place
from tests.faults.records import Lines

_CLIP_FRAMES = 24
_MOST = 120_000  # bytes: the overlay of the clip is smaller


def fill_sources(bench: Bench) -> tuple[list[str], dict[str, int]]:
    """One video, or a folder of a video and pictures: arguments, and the frames wanted of each."""
    make_clip(bench.sources / "a.mp4", bench.random.choice(RECIPES["mp4"]), range(_CLIP_FRAMES))
    if bench.random.random() < 0.5:
        return ["src/a.mp4"], {"a.mp4": _CLIP_FRAMES}
    for name in ("b.jpg", "c.png"):
        make_picture(bench.sources / name)
    return ["src"], {"a.mp4": _CLIP_FRAMES, "b.jpg": 1, "c.png": 1}


def no_space(bench: Bench) -> None:
    """Every write after a random number of bytes fails."""
    arguments, wanted = fill_sources(bench)
    out = bench.folder / "out"
    out.mkdir(mode=0o777)
    single = len(wanted) == 1 and bench.random.random() < 0.6
    output = "out/o." + bench.random.choice(("mp4", "mkv", "mov", "avi")) if single else "out"
    limit = int(_MOST * bench.random.random() ** 2)
    earlier = bench.random.random() < 0.3
    if earlier:
        _earlier_videos(out)
    mounted = os.geteuid() == 0 and not earlier and bench.random.random() < 0.4
    if mounted:
        with _small_disk(out, limit) as real:
            if not real:
                return
            outcome, lines = bench.run([*arguments, "-o", output])
            _check_full(bench, outcome, lines, wanted)
    else:
        outcome, lines = bench.run([*arguments, "-o", output], Place(file_limit=limit))
        _check_full(bench, outcome, lines, wanted)


def _earlier_videos(out: Path) -> None:
    for name in ("o.mp4", "o.mkv", "a_overlay.mp4"):
        make_clip(out / name, RECIPES["mkv" if name.endswith("mkv") else "mp4"][0], range(100, 107))


def _check_full(bench: Bench, outcome: Outcome, lines: Lines, wanted: dict[str, int]) -> None:
    bench.check_earlier()
    bench.check_videos(lines)
    bench.check_complete(outcome, lines, wanted)
    bench.results(bench.folder / "out")
    if outcome.code not in (0, 1):
        bench.violate(f"a full disk: exit code {outcome.code}, expected 1")
    if (
        outcome.code != 0
        and outcome.messages is not None
        and not any(word in outcome.messages.lower() for word in (b"writ", b"space", b"large", b"disk", b"full"))
    ):
        bench.violate(f"the message does not say that writing failed: {outcome.messages.strip()[-150:]!r}")


@contextmanager
def _small_disk(place: Path, size: int) -> Iterator[bool]:
    pages = max(1, size // 4096)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={pages * 4}k,mode=777", "tmpfs", str(place)]
    done = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield done
    finally:
        if done:
            subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)


def forbidden(bench: Bench) -> None:
    """A target that cannot be written, or a source that cannot be read."""
    arguments, wanted = fill_sources(bench)
    out = bench.folder / "out"
    way = bench.random.choice(("folder", "file", "results", "parent", "source", "source folder", "is a folder"))
    output = "out"
    if way == "folder":
        out.mkdir(mode=0o555)
    elif way == "file":
        out.mkdir()
        out.chmod(0o777)
        (out / "a_overlay.mp4").write_bytes(b"an earlier output")
        (out / "a_overlay.mp4").chmod(0o444)
    elif way == "results":
        out.mkdir()
        out.chmod(0o777)
        (out / "results.jsonl").write_text("")
        (out / "results.jsonl").chmod(0o444)
    elif way == "parent":
        (bench.folder / "locked").mkdir(mode=0o555)
        output = "locked/deeper/out"
    elif way == "source":
        (bench.sources / "a.mp4").chmod(0)
    elif way == "source folder":
        bench.sources.chmod(0o555)
    else:
        (out / "a_overlay.mp4").mkdir(parents=True)
        out.chmod(0o777)
    outcome, lines = bench.run([*arguments, "-o", output], Place(unprivileged=True))
    bench.check_videos(lines)
    bench.check_complete(outcome, lines, wanted)
    if way in ("folder", "parent") and outcome.code not in (1, 2):
        bench.violate(f"read-only {way}: exit code {outcome.code}, expected 1")
    if way == "source folder" and outcome.code != 0:
        bench.violate(f"sources in a read-only folder: exit code {outcome.code}, expected 0")
    if way == "source":
        if outcome.code != 3:
            bench.violate(f"an unreadable source: exit code {outcome.code}, expected 3")
        if len(wanted) > 1 and len(lines.frames) != len(wanted) - 1:
            bench.violate(f"{len(lines.frames)} records beside an unreadable source, expected {len(wanted) - 1}")
        (bench.sources / "a.mp4").chmod(0o644)
    for path in (bench.folder / "locked", out):
        if path.is_dir():
            path.chmod(0o777)


KINDS = {"no_space": (80, no_space), "forbidden": (30, forbidden)}
