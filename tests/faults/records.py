"""The lines a run wrote: complete, valid, and what they claim."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

# Details of an event that say how many frames it stands for.
_COUNTS = ("frames", "count", "packets", "damaged", "skipped")


@dataclass
class Lines:
    """Parsed JSON lines.

    Attributes:
        frames: the records of frames, in order.
        events: the lines with ``event``.
        wrong: what is wrong with them, one text for each fault.
    """

    frames: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def of(self, source: str) -> list[dict[str, Any]]:
        """The records of one source; ``source`` is the end of its name."""
        return [record for record in self.frames if str(record.get("source", "")).endswith(source)]

    def claims(self, role: str = "overlay") -> dict[str, list[dict[str, Any]]]:
        """Path -> the records that say they are in it."""
        claimed: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for record in self.frames:
            path = record.get("outputs", {}).get(role)
            if path is not None:
                claimed[path].append(record)
        return dict(claimed)

    def events_of(self, kind: str) -> list[dict[str, Any]]:
        """The events of one kind."""
        return [event for event in self.events if event.get("event") == kind]

    def damaged(self) -> int:
        """How many damaged frames the run reports: marked in a record, or skipped with an event."""
        kept = sum(bool(record.get("damaged")) for record in self.frames)
        return kept + sum(_stands_for(event) for event in self.events_of("corrupt") if event.get("skipped", True))


def _stands_for(event: dict[str, Any]) -> int:
    details = {**event, **event.get("details", {})} if isinstance(event.get("details", {}), dict) else event
    counts = [int(details[name]) for name in _COUNTS if isinstance(details.get(name), int)]
    return max(counts, default=1)


def parse_lines(data: bytes, *, whole: bool = True, ordered: bool = True) -> Lines:
    """Parse what a run wrote.

    Args:
        data: the lines.
        whole: ``False`` tolerates a last line that was cut off (by a signal, say).
        ordered: ``False`` where several runs wrote, each with numbers of its own.
    """
    lines = Lines()
    rows = data.split(b"\n")
    last = rows.pop()
    if last and whole:
        lines.wrong.append(f"the last JSON line is incomplete: {last[-60:]!r}")
    for number, row in enumerate(rows, 1):
        try:
            entry = json.loads(row.decode("utf-8", "surrogateescape"), parse_constant=_refuse)
        except ValueError as error:
            lines.wrong.append(f"JSON line {number} is invalid ({error}): {row[:60]!r}")
            continue
        if not isinstance(entry, dict):
            lines.wrong.append(f"JSON line {number} is no object: {row[:60]!r}")
        elif not isinstance(entry.get("source"), str) or " object at 0x" in entry["source"]:
            lines.wrong.append(f"JSON line {number} does not name its source: {row[:80]!r}")
        elif "event" in entry:
            lines.events.append(entry)
        else:
            lines.frames.append(entry)
    if ordered:
        lines.wrong += _order(lines.frames)
    return lines


def _order(frames: list[dict[str, Any]]) -> Iterator[str]:
    last: dict[str, int] = {}
    for record in frames:
        source, number = str(record.get("source")), record.get("frame")
        if not isinstance(number, int):
            yield f"a record without a frame number: {str(record)[:80]}"
        elif number <= last.get(source, -1):
            yield f"frame {number} of {source} after frame {last[source]}"
        else:
            last[source] = number


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
