"""Sources and foreign files where outputs want to go: nothing that is not ours is ever overwritten."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from tests.faults.bench import Bench, fingerprints
from tests.faults.making.clips import RECIPES, make_clip, make_picture
from tests.faults.process import Outcome
from tests.faults.records import Lines

_FRAMES = 8
_PRECIOUS = b"somebody's only copy\n"


def beside(bench: Bench) -> None:
    """One of the ways in which an output meets a source or a foreign file."""
    chosen: Callable[[Bench], None] = bench.random.choice(
        (onto_source, onto_sibling, inside_sources, through_links, again, both_at_once)
    )
    chosen(bench)


def _fill(bench: Bench, *names: str) -> None:
    for name in names:
        path = bench.sources / name
        if path.suffix in (".mp4", ".mkv"):
            make_clip(path, RECIPES[path.suffix[1:]][0], range(_FRAMES))
        else:
            make_picture(path)


def _refused_or_complete(bench: Bench, outcome: Outcome, lines: Lines, wanted: dict[str, int]) -> None:
    bench.check_videos(lines)
    bench.check_complete(outcome, lines, wanted)
    if outcome.code not in (0, 1, 2):
        bench.violate(f"exit code {outcome.code}, expected 0, or 1 or 2 for a refusal")


def onto_source(bench: Bench) -> None:
    """``-o`` names the source itself, perhaps by another way: the run is refused."""
    name = bench.random.choice(("a.mp4", "a.mkv", "a.jpg", "a.png"))
    _fill(bench, name)
    way = bench.random.choice(("same", "dotted", "symlink", "hardlink", "linked folder", "case"))
    output = f"src/{name}"
    if way == "dotted":
        output = f"src/../src/./{name}"
    elif way == "symlink":
        (bench.folder / name).symlink_to(bench.sources / name)
        output = name
    elif way == "hardlink":
        os.link(bench.sources / name, bench.folder / name)
        output = name
    elif way == "linked folder":
        (bench.folder / "link").symlink_to(bench.sources)
        output = f"link/{name}"
    outcome, lines = bench.run([f"src/{name}", "-o", output])
    # A link may be replaced by a file of its own; the source is checked either way.
    _refused_or_complete(bench, outcome, lines, {name: _FRAMES if name[-3:] in ("mp4", "mkv") else 1})
    if outcome.code != 2 and way in ("same", "dotted", "linked folder", "case"):
        bench.violate(f"-o is the source itself ({way}): exit code {outcome.code}, expected 2")


def onto_sibling(bench: Bench) -> None:
    """A second output of a picture (its labels) would fall on the source."""
    stem = bench.random.choice(("x", "y z", "ü"))
    _fill(bench, f"{stem}_labels.png")
    outcome, lines = bench.run([f"src/{stem}_labels.png", "-o", f"src/{stem}." + bench.random.choice(("jpg", "png"))])
    _refused_or_complete(bench, outcome, lines, {f"{stem}_labels.png": 1})


def inside_sources(bench: Bench) -> None:
    """The output folder is the folder of the sources, where names like ours are taken."""
    names = ["a.png", "a_labels.png", "a_overlay.jpg", "b.mp4", "b_overlay.mp4", "results.png"]
    chosen = bench.random.sample(names, bench.random.randint(2, 6))
    _fill(bench, *chosen)
    mixed = bench.folder / "mixed"
    bench.sources.rename(mixed)
    bench.sources.mkdir()
    results = mixed / "results.jsonl"
    foreign = {"b_overlay.mp4.part": _PRECIOUS, "a_labels.png.part": _PRECIOUS, results.name: b'{"other": "program"}\n'}
    for name, content in foreign.items():
        if bench.random.random() < 0.4:
            (mixed / name).write_bytes(content)
    before = results.read_bytes() if results.exists() else b""
    guarded = [path for path in mixed.iterdir() if path != results]
    outcome, lines = bench.run(["mixed", "-o", bench.random.choice(("mixed", "mixed/", "./mixed"))], guarded=guarded)
    if before and not (results.exists() and results.read_bytes().startswith(before)):
        bench.violate("results.jsonl of another program was overwritten")
    _refused_or_complete(bench, outcome, lines, {name: _FRAMES if name.endswith("mp4") else 1 for name in chosen})


def through_links(bench: Bench) -> None:
    """Names of ours in the output folder are links to a source or to a foreign file."""
    _fill(bench, "a.mp4", "b.png")
    out = bench.folder / "out"
    out.mkdir()
    precious = bench.folder / "precious.txt"
    precious.write_bytes(_PRECIOUS)
    names = (
        "results.jsonl", "results.jsonl.part", "a_overlay.mp4", "a_overlay.mp4.part", "a_overlay.part.mp4",
        ".a_overlay.mp4.part", "a_overlay.partial.mp4", "b_overlay.jpg", "b_labels.png", "b_labels.png.part", ".lock",
    )  # fmt: skip
    for name in bench.random.sample(names, bench.random.randint(1, 4)):
        target = bench.random.choice((precious, bench.sources / "a.mp4", bench.sources / "b.png"))
        way = bench.random.choice(("symlink", "symlink", "hardlink", "dangling"))
        if way == "symlink":
            (out / name).symlink_to(target)
        elif way == "hardlink":
            os.link(target, out / name)
        else:
            (out / name).symlink_to(bench.folder / "elsewhere.txt")
    outcome, lines = bench.run(["src", "-o", "out"], guarded=[precious])
    _refused_or_complete(bench, outcome, lines, {"a.mp4": _FRAMES, "b.png": 1})
    if (bench.folder / "elsewhere.txt").exists():
        bench.violate("a file was made outside of the output folder, through a link")


def again(bench: Bench) -> None:
    """A second run into the same folder: free names or a refusal, never the loss of the first results unsaid."""
    _fill(bench, "a.mp4", "b.png")
    _, lines = bench.run(["src", "-o", "out"])
    bench.check_videos(lines)
    before = fingerprints([bench.folder / "out"])
    size = len(bench.results(bench.folder / "out").frames)
    bench.sources.joinpath("a.mp4").unlink()
    make_clip(bench.sources / "a.mp4", RECIPES["mp4"][0], range(100, 100 + _FRAMES))
    outcome, more = bench.run(["src", "-o", "out"])
    _refused_or_complete(bench, outcome, more, {"a.mp4": _FRAMES, "b.png": 1})
    changed = [path.name for path, was in before.items() if fingerprints([path]).get(path) != was]
    results = bench.results(bench.folder / "out")
    said = (outcome.messages or b"").lower()
    if changed and changed != ["results.jsonl"] and not any(word in said for word in (b"replac", b"earlier", b"exist")):
        bench.violate(f"a second run replaced {changed} without a word")
    if outcome.code == 0 and len(results.frames) not in (size + len(more.frames), len(more.frames)):
        bench.violate(f"results.jsonl holds {len(results.frames)} records after {size} and {len(more.frames)}")


def both_at_once(bench: Bench) -> None:
    """Two runs into the same folder at once: a lock, or free names; never one file by two."""
    _fill(bench, "a.mp4", "b.png")
    other: list[tuple[Outcome, Lines]] = []
    thread = threading.Thread(target=lambda: other.append(bench.run(["src", "-o", "out"])))
    thread.start()
    outcome, lines = bench.run(["src", "-o", "out"])
    thread.join()
    pairs = [(outcome, lines), *other]
    claimed: set[Path] = set()
    for one, its in pairs:
        if one.code not in (0, 1, 2):
            bench.violate(f"exit code {one.code}, expected 0, or 1 or 2 for a refusal")
        bench.check_complete(one, its, {"a.mp4": _FRAMES, "b.png": 1})
        names = {bench.folder / name for role in ("overlay", "labels") for name in its.claims(role)}
        if names & claimed:
            bench.violate(f"two runs claim {sorted(path.name for path in names & claimed)}")
        claimed |= names
    if all(one.code != 0 for one, _ in pairs):
        bench.violate("of two runs at once, none was done")
    every = Lines(frames=[record for _, its in pairs for record in its.frames])
    bench.earlier = {}  # the one may have begun when the other was done
    bench.check_videos(every)
    records = len(_valid(bench, bench.folder / "out" / "results.jsonl"))
    if records < len(every.frames) and not list((bench.folder / "out").glob("results*-*.jsonl")):
        bench.violate(f"results.jsonl holds {records} records of {len(every.frames)}")


def _valid(bench: Bench, path: Path) -> list[bytes]:
    rows = path.read_bytes().splitlines() if path.is_file() else []
    if any(not (row.startswith(b"{") and row.endswith(b"}")) for row in rows):
        bench.violate("results.jsonl holds torn lines")
    return rows


KINDS = {"neighbours": (60, beside)}
