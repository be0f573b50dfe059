"""JSON files that prove that nobody changed them: strict records with a seal over all their other fields."""

from __future__ import annotations

import hashlib
import json
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
    """

    record: type[Record]
    kind: str
    oldest: int
    version: int
    described: str
    made_by: str

    def decode(self, raw: bytes, path: Path, again: str) -> Record:
        """The record in ``raw``.

        Args:
            raw: the file's bytes.
            path: of the file, for messages.
            again: how to make the file again.

        Raises:
            ArtifactError: no JSON, of another kind or version, edited, or with fields that do not belong there.
        """
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


def write_sealed(record: Record, path: Path) -> Record:
    """Seal ``record``, write it to ``path`` in one atomic step and return the sealed copy."""
    sealed = msgspec.structs.replace(record, **{_SEAL: _seal(msgspec.to_builtins(record))})
    text = json.dumps(msgspec.to_builtins(sealed), indent=1, ensure_ascii=False, allow_nan=False)
    replace_file(path, (text + "\n").encode())
    return sealed


def _seal(fields: dict[str, Any]) -> str:
    sealed = {key: value for key, value in fields.items() if key != _SEAL}
    canonical = json.dumps(sealed, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
