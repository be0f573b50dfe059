"""One fault: its folder, its random numbers, the command, and the invariants that hold whatever happens."""

from __future__ import annotations

import hashlib
import os
import random
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.process import PATIENCE, Outcome, Place, run_command
from tests.faults.reading import count_frames, numbers_shown
from tests.faults.records import Lines, parse_lines

DOCUMENTED = frozenset({*range(9), 129, 130, 143})
VIDEO_SUFFIXES = frozenset({".mp4", ".mkv", ".mov", ".avi"})
_ALARMS = (b"Traceback", b"unexpected", b"Segmentation", b"terminate called", b"core dumped", b"Fatal Python")


@dataclass(frozen=True)
class Tools:
    """What all faults of a run share.

    Attributes:
        checkout: whose ``ifseg_rt`` is run.
        model: the tiny model.
        clips: folder of undamaged clips.
        options: the options the command knows.
    """

    checkout: Path
    model: Path
    clips: Path
    options: frozenset[str]


@dataclass
class Bench:
    """One fault, numbered within its kind.

    Attributes:
        folder: the working directory of the command; ``src`` in it holds the sources.
        violations: what was found.
        undetectable: whether pictures were wrong in a way no reader could notice.
    """

    kind: str
    number: int
    random: random.Random
    folder: Path
    tools: Tools
    violations: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0
    undetectable: bool = False
    earlier: dict[Path, str] = field(default_factory=dict)  # videos that lay about before the last run

    def __post_init__(self) -> None:
        self.sources = self.folder / "src"
        self.sources.mkdir(parents=True)

    def violate(self, text: str) -> None:
        """Note a violation."""
        self.violations.append(text)

    def summary(self) -> tuple[str, ...]:
        """The violations, those alike as one."""
        alike: dict[str, list[str]] = {}
        for text in self.violations:
            alike.setdefault(re.sub(r"[0-9a-f]*\d[0-9a-f]*", "#", text)[:60], []).append(text)
        return tuple(
            texts[0] + (f" (and {len(texts) - 1} more like it)" if len(texts) > 1 else "") for texts in alike.values()
        )

    def knows(self, option: str) -> bool:
        """Whether the command has this option."""
        return option in self.tools.options

    def run(
        self,
        arguments: Sequence[str | bytes],
        place: Place | None = None,
        *,
        model: bool = True,
        guarded: Iterable[Path] = (),
    ) -> tuple[Outcome, Lines]:
        """Run the command with overlays that show the frames as they are, and check what always holds.

        Args:
            arguments: without model and opacity.
            place: limits, streams, signals.
            model: whether to name the tiny model.
            guarded: files beside those in ``src`` that must stay as they are.
        """
        place = place or Place()
        everything = ["--no-window", "--alpha", "0", "--threads", "1", *arguments]
        if model:
            everything = ["--model", str(self.tools.model), *everything]
        self.commands.append(" ".join(os.fsdecode(part) for part in arguments))
        self.earlier = fingerprints(self._videos())
        before = fingerprints([self.sources, *guarded])
        outcome = run_command(everything, self.folder, self.tools.checkout, place)
        self.outcomes.append(outcome)
        self.seconds = max(self.seconds, outcome.seconds)
        for path, was in before.items():
            if fingerprints([path]).get(path) != was:
                self.violate(f"the source {path.name!r} was changed")
        cut_short = len(place.signals) > 1 or place.early
        lines = parse_lines(outcome.lines or b"", whole=not cut_short)
        self.violations += lines.wrong
        self._check_end(outcome, place)
        return outcome, lines

    def _check_end(self, outcome: Outcome, place: Place) -> None:
        if outcome.code is None:
            self.violate(f"hang: still running after {PATIENCE:.0f} s")
        elif outcome.code not in DOCUMENTED:
            self.violate(f"exit code {outcome.code} is not documented")
        messages = outcome.messages
        if messages is None:
            return
        if not place.early:
            for alarm in _ALARMS:
                if alarm in messages:
                    said = messages[messages.index(alarm) :].decode(errors="replace").splitlines()
                    at = next((line for line in said[1:] if not line.startswith(" ")), said[0])
                    self.violate(f"{alarm.decode()!r} on standard error: {said[0]} ... {at}"[:250])
        if outcome.code not in (0, None) and not messages.strip() and not place.early:
            self.violate(f"exit code {outcome.code} without a word")

    def results(self, folder: Path) -> Lines:
        """The lines of ``results.jsonl`` in an output folder, checked; none where there is no such file."""
        path = folder / "results.jsonl"
        lines = parse_lines(path.read_bytes() if path.is_file() else b"", ordered=len(self.outcomes) < 2)
        self.violations += [f"results.jsonl: {text}" for text in lines.wrong]
        return lines

    def check_videos(self, lines: Lines, *, exact: bool = True) -> None:
        """Every video named in the lines holds exactly the frames that name it; no other video is new.

        Args:
            lines: the records.
            exact: ``False`` where the process was ended at once: a video may then hold more, or be named partial.
        """
        claims = lines.claims()
        for name, records in claims.items():
            path = self.folder / name
            if path.suffix.lower() not in VIDEO_SUFFIXES:
                if not path.is_file() or path.stat().st_size == 0:
                    self.violate(f"{name} is named in a record, but is not there")
                continue
            found = self.holder(name)
            if found is None:
                self.violate(f"{len(records)} records name {name}, which is not there")
                continue
            count = count_frames(found)
            if count != len(records) and (exact or count is None or count < len(records)):
                self.violate(f"{found.name} has {count} readable frames, {len(records)} records name it")
        named = {(self.folder / name).resolve() for name in claims}
        untouched = self.untouched()
        for path in self._videos():
            if path.resolve() not in named and path not in untouched and ".part" not in path.name:
                self.violate(f"the video {path.name} is named in no record")

    def holder(self, name: str) -> Path | None:
        """The file that holds the frames whose records name ``name``: a partial one beside an earlier output."""
        path = self.folder / name
        return path if path.is_file() and path not in self.untouched() else partial_name(path)

    def untouched(self) -> set[Path]:
        """Videos from before the last run that are as they were."""
        now = fingerprints(self.earlier)
        return {path for path, was in self.earlier.items() if now.get(path) == was}

    def check_earlier(self) -> None:
        """An earlier output is still there: as it was, or replaced by a newer one."""
        for path in self.earlier:
            if not path.is_file():
                self.violate(f"the earlier output {path.name} is gone")

    def _videos(self) -> list[Path]:
        found = [path for path in self.folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()]
        return [path for path in found if self.sources not in path.parents]

    def check_numbers(self, lines: Lines, frames: int) -> None:
        """In an undamaged source, the picture of record ``frame: n`` in the overlay shows ``n``."""
        for name, records in lines.claims().items():
            path = self.holder(name)
            if path is None or path.suffix.lower() not in VIDEO_SUFFIXES:
                continue
            shown = numbers_shown(path)
            wanted = [record["frame"] for record in records]
            if shown != wanted[: len(shown)] or max(wanted, default=0) >= frames:
                wrong = next(
                    (pair for pair in zip(wanted, shown, strict=False) if pair[0] != pair[1]), (len(wanted), len(shown))
                )
                self.violate(f"{name}: the record says frame {wrong[0]}, the picture shows {wrong[1]}")

    def check_complete(self, outcome: Outcome, lines: Lines, wanted: dict[str, int]) -> None:
        """Exit code 0 takes all frames of every source (end of its name -> frames), each in its output."""
        if outcome.code != 0:
            return
        for source, frames in wanted.items():
            records = lines.of(source)
            held = [record for record in records if record.get("outputs", {}).get("overlay")]
            if len(held) < frames:
                self.violate(f"exit code 0, but only {len(held)} of {frames} frames of {source} are in an output")


def partial_name(path: Path) -> Path | None:
    """The name under which an incomplete video lies beside ``path``."""
    candidates = [path.with_name(f"{path.stem}.partial{path.suffix}"), *path.parent.glob(f"*{path.stem}*part*")]
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def fingerprints(places: Iterable[Path]) -> dict[Path, str]:
    """Path -> hash of content (or target of a link) and permissions, of files and of everything below folders."""
    found: dict[Path, str] = {}
    for place in places:
        inside = sorted(place.rglob("*")) if place.is_dir() and not place.is_symlink() else [place]
        for path in inside:
            try:
                status = path.lstat()
            except OSError:
                continue
            if stat.S_ISLNK(status.st_mode):
                content = os.fsencode(path.readlink())
            elif stat.S_ISREG(status.st_mode):
                content = path.read_bytes()
            else:
                content = b""
            found[path] = f"{stat.filemode(status.st_mode)} {hashlib.sha256(content).hexdigest()}"
    return found
