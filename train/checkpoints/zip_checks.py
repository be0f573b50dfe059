"""The zip file around a PyTorch checkpoint: its checksums, which torch's own reader does not look at."""

from __future__ import annotations

import zipfile
from pathlib import Path

from ifseg_rt.errors import CheckpointError

PICKLE = "data.pkl"
# Names, shapes and options; a published model with its optimiser has less than one megabyte of them.
MOST_PICKLE_BYTES = 64 << 20


def is_zip(path: Path) -> bool:
    """Whether a file begins as zip files do; torch has written them since version 1.6."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def checked_pickle(path: Path, hint: str) -> bytes:
    """The pickle in a checkpoint, after every checksum of the file was verified: 0.01 s for the 12 MB of micro.

    Raises:
        CheckpointError: a byte differs from what was written, or a record is compressed, which torch never does: a few
            bytes would become gigabytes.
        zipfile.BadZipFile: no zip file, or cut off; other errors of the reader likewise.
    """
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        names = [record.filename for record in records]
        if len(set(names)) != len(names) or any(record.compress_type != zipfile.ZIP_STORED for record in records):
            raise CheckpointError(
                f"{path} was not written by PyTorch: its records are compressed or doubled", hint=hint
            )
        if sum(record.file_size for record in records) > path.stat().st_size:
            raise CheckpointError(f"{path} was not written by PyTorch: its records overlap", hint=hint)
        try:
            wrong = archive.testzip()
        except zipfile.BadZipFile as error:
            raise CheckpointError(f"{path} is damaged: {error}", hint=hint) from error
        if wrong is not None:
            raise CheckpointError(
                f"{path} is damaged: the checksum of {wrong.encode('ascii', 'replace').decode()[:100]} is wrong",
                hint=hint,
            )
        return _pickle(archive, path, hint)


def peeked_pickle(path: Path) -> bytes:
    """The pickle in a checkpoint, unchecked; empty where there is none or the file cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _pickle(archive, path, "")
    except Exception:  # what is wrong is said when the file is loaded
        return b""


def _pickle(archive: zipfile.ZipFile, path: Path, hint: str) -> bytes:
    found = [record for record in archive.infolist() if record.filename.rpartition("/")[2] == PICKLE]
    if len(found) != 1:
        raise CheckpointError(f"{path} is a zip file, but no PyTorch checkpoint: it has no {PICKLE}", hint=hint)
    if found[0].file_size > MOST_PICKLE_BYTES:
        raise CheckpointError(f"{path} holds {found[0].file_size} bytes of other things than tensors", hint=hint)
    return archive.read(found[0])
