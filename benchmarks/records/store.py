"""Measurements as JSON lines: one per line, found again by their key, so that an interrupted run goes on where it was.

A key is every setting that a figure depends on, and the machine. Of two lines with the same key the later one counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ifseg_rt.errors import SourceError

Record = dict[str, Any]
# Where the commands write; what is kept for good lies in benchmarks/measured.
RESULTS = Path(__file__).parents[1] / "results"


def read_records(path: Path) -> list[Record]:
    """Return the records of a JSON or JSON-lines file.

    Raises:
        SourceError: the file is missing or is no JSON.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from error
    try:
        whole = json.loads(text)
        return [_record(whole, path)]
    except json.JSONDecodeError:
        pass
    try:
        return [_record(json.loads(line), path) for line in text.splitlines() if line.strip()]
    except json.JSONDecodeError as error:
        raise SourceError(f"{path} is neither JSON nor JSON lines: {error}") from error


def read_folder(folder: Path) -> list[Record]:
    """Return the records of every ``.json`` and ``.jsonl`` file of a folder, in the order of their names.

    Raises:
        SourceError: the folder is missing, or a file is no JSON.
    """
    if not folder.is_dir():
        raise SourceError(f"there is no folder {folder} with measurements")
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".jsonl"))
    return [record for path in paths for record in read_records(path)]


def latest(records: Iterable[Record]) -> list[Record]:
    """Return the records without those that a later one with the same key replaces; keyless ones all stay."""
    found: dict[str, Record] = {}
    for number, record in enumerate(records):
        name = f"no key {number}" if "key" not in record else key_text(record["key"])
        found.pop(name, None)  # so that a repeated measurement stands where it was repeated
        found[name] = record
    return list(found.values())


def key_text(key: Mapping[str, Any]) -> str:
    """Return one spelling per key, whatever the order of its entries."""
    return json.dumps(key, sort_keys=True)


class RecordFile:
    """A JSON-lines file that grows by whole lines.

    Args:
        path: need not exist yet; its folder is made when the first line is written.
        again: forget what is there when asked whether a measurement is done.

    Raises:
        SourceError: the file exists and is no JSON.
    """

    def __init__(self, path: Path, *, again: bool = False) -> None:
        self.path = path
        self._records: list[Record] = read_records(path) if path.is_file() and path.stat().st_size else []
        self._done = set() if again else {key_text(r["key"]) for r in self._records if "key" in r and not failed(r)}

    def has(self, key: Mapping[str, Any]) -> bool:
        """Whether a measurement with this key is in the file and worked."""
        return key_text(key) in self._done

    def add(self, record: Record) -> None:
        """Append one record; the line is on disk when this returns.

        Raises:
            SourceError: the file cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise SourceError(f"cannot write {self.path}: {error.strerror}") from error
        self._records.append(record)
        if "key" in record and not failed(record):
            self._done.add(key_text(record["key"]))

    def records(self) -> list[Record]:
        """Return what counts of the file: the latest record of every key."""
        return latest(self._records)


def failed(record: Record) -> bool:
    """Whether the record says that its measurement did not work."""
    return bool(record.get("failed"))


def _record(value: Any, path: Path) -> Record:  # noqa: ANN401 - whatever JSON holds
    if not isinstance(value, dict):
        raise SourceError(f"{path} holds a {type(value).__name__} where a measurement is expected")
    return value
