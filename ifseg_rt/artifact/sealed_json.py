"""JSON files that prove that nobody changed them: strict records with a seal over all their other fields."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from ifseg_rt.artifact.plain_file import read_plain
from ifseg_rt.cache import replace_file
from ifseg_rt.errors import ArtifactError

Record = TypeVar("Record", bound=msgspec.Struct)
_SEAL = "integrity"
LARGEST_SIDECAR = 16_000_000  # bytes; 65,535 categories with long names are some 10 MB
# Characters that no name has, and that change what a terminal or another program makes of a line: controls with NUL and
# line breaks, halves of a pair, separators of lines and paragraphs.
_NOT_IN_NAMES = frozenset({"Cc", "Cs", "Zl", "Zp"})
_FREE = frozenset({"provenance", "parity"})


@dataclass(frozen=True)
class SealedFormat(Generic[Record]):
    """What is expected of a file.

    Attributes:
        record: what it holds; strict, with the fields ``kind``, ``schema_version`` and ``integrity``.
        kind: its ``kind``.
        oldest: the first ``schema_version`` that is read.
        version: the last one, which is written.
        described: what such a file describes, for messages: ``"a model"``.
        made_by: what wrote it: ``"export"``.
        contradictions: everything in a record that cannot be true together, one line each.
    """

    record: type[Record]
    kind: str
    oldest: int
    version: int
    described: str
    made_by: str
    contradictions: Callable[[Record], list[str]]

    def read(self, path: Path, again: str, absent: Callable[[], ArtifactError]) -> Record:
        """The record in a file.

        Args:
            path: of the file.
            again: how to make the file again.
            absent: gives the error where there is no such file.

        Raises:
            ArtifactError: missing, no JSON, of another kind or version, edited, with fields that do not belong there,
                or contradicting itself.
        """
        try:
            raw = read_plain(path, LARGEST_SIDECAR)
        except FileNotFoundError:
            raise absent() from None
        except OSError as error:
            raise ArtifactError(f"cannot read the sidecar {path}: {error.strerror}", hint=again) from error
        record = self._decode(raw, path, again)
        self._check_meaning(record, path)
        return record

    def write(self, record: Record, path: Path) -> Record:
        """Seal ``record`` as one of the latest version, write it in one atomic step and return the sealed copy.

        Raises:
            ArtifactError: it contradicts itself; nothing is written.
        """
        record = msgspec.structs.replace(record, schema_version=self.version)
        self._check_meaning(record, path)
        sealed = msgspec.structs.replace(record, **{_SEAL: _seal(msgspec.to_builtins(record))})
        text = json.dumps(msgspec.to_builtins(sealed), indent=1, ensure_ascii=False, allow_nan=False)
        replace_file(path, (text + "\n").encode())
        return sealed

    def _check_meaning(self, record: Record, path: Path) -> None:
        problem = next(iter(self.contradictions(record)), None)
        if problem is not None:
            raise ArtifactError(f"{path} contradicts itself: {problem}")
        for text in _names(msgspec.to_builtins(record)):
            if any(unicodedata.category(char) in _NOT_IN_NAMES for char in text):
                raise ArtifactError(
                    f"{path} holds a name with a character that no name has (a line break, a NUL): {_shown(text)}"
                )

    def _decode(self, raw: bytes, path: Path, again: str) -> Record:
        try:
            fields: Any = json.loads(raw.decode("utf-8-sig"))
        except ValueError as error:
            raise ArtifactError(f"{path} is not valid JSON: {error}", hint=again) from None
        except RecursionError:
            raise ArtifactError(f"{path} is no sidecar: its brackets are nested too deeply", hint=again) from None
        if not isinstance(fields, dict) or fields.get("kind") != self.kind:
            found = repr(fields.get("kind"))[:80] if isinstance(fields, dict) else f"a JSON {type(fields).__name__}"
            raise ArtifactError(
                f'{path} is not the sidecar of {self.described}: expected "kind": "{self.kind}", found {found}',
                hint=again,
            )
        version = fields.get("schema_version")
        if type(version) is not int or version not in range(self.oldest, self.version + 1):
            newer = type(version) is int and version > self.version
            raise ArtifactError(
                f"{path} has schema version {_shown(version)}; "
                f"this build reads versions {self.oldest} to {self.version}",
                hint="upgrade ifseg-rt" if newer else again,
            )
        try:
            seal = _seal(fields)
        except RecursionError:
            raise ArtifactError(f"{path} is no sidecar: its brackets are nested too deeply", hint=again) from None
        if fields.get(_SEAL) != seal:
            raise ArtifactError(
                f"{path} was changed after the {self.made_by}: its content no longer fits its {_SEAL} field", hint=again
            )
        try:
            return msgspec.convert(fields, type=self.record)  # of what was sealed: a key may be in the file twice
        except (ValueError, RecursionError) as error:  # of the schema; or of text with half a character
            raise ArtifactError(f"{path} does not follow the sidecar schema: {_line(error)}", hint=again) from None


def _names(value: object) -> Iterator[str]:
    """Every text of a record but those that are free: where a model comes from, and what was measured."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, part in value.items():
            if key not in _FREE:
                yield key
                yield from _names(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _names(part)


def _shown(value: object) -> str:
    return ascii(value)[:80] if not isinstance(value, int) or abs(value) < 10**80 else "a number of many digits"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _seal(fields: dict[str, Any]) -> str:
    sealed = {key: value for key, value in fields.items() if key != _SEAL}
    canonical = json.dumps(sealed, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
