"""JSON files that prove that nobody changed them: strict records with a seal over all their other fields."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from ifseg_rt.cache import replace_file
from ifseg_rt.errors import ArtifactError

Record = TypeVar("Record", bound=msgspec.Struct)
_SEAL = "integrity"


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
            raw = path.read_bytes()
        except FileNotFoundError:
            raise absent() from None
        except OSError as error:
            raise ArtifactError(f"cannot read the sidecar {path}: {error.strerror}") from error
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

    def _decode(self, raw: bytes, path: Path, again: str) -> Record:
        try:
            fields: Any = json.loads(raw)
        except ValueError as error:
            raise ArtifactError(f"{path} is not valid JSON: {error}", hint=again) from None
        if not isinstance(fields, dict) or fields.get("kind") != self.kind:
            found = repr(fields.get("kind")) if isinstance(fields, dict) else f"a JSON {type(fields).__name__}"
            raise ArtifactError(
                f'{path} is not the sidecar of {self.described}: expected "kind": "{self.kind}", found {found}',
                hint=again,
            )
        version = fields.get("schema_version")
        if version not in range(self.oldest, self.version + 1):
            newer = isinstance(version, int) and version > self.version
            raise ArtifactError(
                f"{path} has schema version {version!r}; this build reads versions {self.oldest} to {self.version}",
                hint="upgrade ifseg-rt" if newer else again,
            )
        if fields.get(_SEAL) != _seal(fields):
            raise ArtifactError(
                f"{path} was changed after the {self.made_by}: its content no longer fits its {_SEAL} field", hint=again
            )
        try:
            return msgspec.json.decode(raw, type=self.record)
        except msgspec.DecodeError as error:
            raise ArtifactError(f"{path} does not follow the sidecar schema: {error}", hint=again) from None


def _seal(fields: dict[str, Any]) -> str:
    sealed = {key: value for key, value in fields.items() if key != _SEAL}
    canonical = json.dumps(sealed, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
