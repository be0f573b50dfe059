"""Names of files that trip programs up."""

from __future__ import annotations

import os

from tests.faults.bench import Bench
from tests.faults.making.clips import RECIPES, make_clip, make_picture

_STEMS: tuple[bytes, ...] = (
    b"\xff\xfe", b"caf\xe9", b"12:30", b"-dash", b"--output", b"%d", b"%03d", b"%s%n", b"new\nline", b"tab\there",
    b"...", b" ", b" lead", b"trail ", b"[1]", b"a*b?", b"~", b"$HOME", b"`x`", b"'quote\"", b"a|b", b"file:x",
    b"concat:a", b"http:", b"pipe:0", b"data:,x", b"rtsp:", b"test:", b"screen:", b"0", b"a\\b", b"\x1b[31m", b"#1",
    b"a.b.c", b"long" * 60, b"x" * 235, b"\xe2\x80\xae\xe2\x80\x8f", b"\xf0\x9f\x8e\xa5" * 20, b"e\xcc\x81", b"nul",
    b"results", b"a_overlay", b"a_labels", b"a.partial", b"a.part",
)  # fmt: skip


def hostile_name(bench: Bench) -> None:
    """A good file of a hostile name works, named directly, in its folder, by pattern or by its folder."""
    stem = bench.random.choice(_STEMS)
    video = bench.random.random() < 0.6
    suffix = bench.random.choice((b".mp4", b".MKV", b".ts") if video else (b".jpg", b".png", b".PNG", b".webp"))
    folder = os.fsencode(bench.sources)
    clip = RECIPES[suffix.decode().lower()[1:]][0] if video else None
    frames = 6 if video else 1
    plain = bench.sources / ("plain" + suffix.decode().lower())
    if clip is not None:
        make_clip(plain, clip, range(frames))
    else:
        make_picture(plain)
    name = stem + suffix
    plain.rename(os.fsdecode(folder + b"/" + name))
    way = bench.random.choice(("path", "bare", "folder", "pattern", "absolute"))
    if way == "bare":
        (bench.sources / os.fsdecode(name)).rename(bench.folder / os.fsdecode(name))
    argument: str | bytes = {
        "path": b"src/" + name,
        "bare": name,
        "absolute": folder + b"/" + name,
        "folder": b"src",
        "pattern": b"src/.*" if stem.startswith(b".") else b"src/*",  # as in a shell
    }[way]
    outcome, lines = bench.run(["-o", "out", "--", argument], guarded=[bench.folder / os.fsdecode(name)])
    bench.check_videos(lines)
    results = bench.results(bench.folder / "out")
    too_long = len(name) + len(b"_overlay") + 4 > 255
    if outcome.code == 0 and len(lines.frames) != frames:
        bench.violate(f"exit code 0, but {len(lines.frames)} of {frames} frames")
    if outcome.code != 0 and not too_long:
        said = (outcome.messages or b"").strip().splitlines()[-2:]
        bench.violate(f"{name!r} as {way}: exit code {outcome.code}, expected 0: {said!r}"[:300])
    if outcome.code == 0 and len(results.frames) != frames:
        bench.violate(f"{name!r}: {len(results.frames)} of {frames} records in results.jsonl")


def hostile_output(bench: Bench) -> None:
    """An output of a hostile name is written under exactly that name."""
    stem = bench.random.choice([stem for stem in _STEMS if not stem.startswith(b"-") and len(stem) < 200])
    video = bench.random.random() < 0.6
    if video:
        make_clip(bench.sources / "a.mp4", RECIPES["mp4"][0], range(6))
    else:
        make_picture(bench.sources / "a.png")
    source = "src/a.mp4" if video else "src/a.png"
    name = stem + (bench.random.choice((b".mp4", b".mkv")) if video else bench.random.choice((b".jpg", b".png")))
    if bench.random.random() < 0.4:
        name = stem + b"/"
    outcome, lines = bench.run([source, "-o", name])
    bench.check_videos(lines)
    exists = (bench.folder / os.fsdecode(name)).exists()
    if outcome.code != 0 or not exists:
        said = (outcome.messages or b"").strip().splitlines()[-2:]
        bench.violate(f"-o {name!r}: exit code {outcome.code}, written: {exists}: {said!r}"[:300])


def hostile(bench: Bench) -> None:
    """A hostile name, of a source or of an output."""
    (hostile_name if bench.random.random() < 0.7 else hostile_output)(bench)


KINDS = {"names": (80, hostile)}
