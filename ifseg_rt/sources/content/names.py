"""Names of files as people read them, and files read in whole; every failure in one line."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from ifseg_rt.errors import SourceError


def readable_name(path: Path) -> str:
    """Return a path as one line of text that can be written as UTF-8: other bytes and line ends look like ``\\xe9``."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(letter if letter >= " " else f"\\x{ord(letter):02x}" for letter in text)


def file_stem(path: Path) -> str:
    """Return a file name without folder and suffix, for the names of what is made from it.

    A byte that is not UTF-8 becomes ``%E9``, so that two such names stay two names.
    """
    stem = os.fsencode(path.stem)
    try:
        return stem.decode("utf-8")
    except UnicodeDecodeError:
        return quote(stem, safe=" !#$&'()+,;=@[]{}~")


def reason_of(error: OSError | ValueError) -> str:
    """Say in words why the system refused a path."""
    return getattr(error, "strerror", None) or str(error)


def read_file(path: Path, name: str) -> bytes:
    """Read a whole file.

    Raises:
        SourceError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise SourceError(f"cannot read {name}: {reason_of(error)}") from error
    except MemoryError as error:
        raise SourceError(f"cannot read {name}: it is larger than the memory that is left") from error
