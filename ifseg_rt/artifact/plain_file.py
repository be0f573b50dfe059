"""Reads files that others may have made: only regular ones, only up to a size, and known again afterwards."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@dataclass(frozen=True)
class FileIdentity:
    """What changes when a file is replaced or written to.

    Attributes:
        device: of the file system.
        inode: of the file.
        bytes: its size.
        modified: time of the last change of its content, in ns.
        changed: time of the last change of its content, name or rights, in ns.
    """

    device: int
    inode: int
    bytes: int
    modified: int
    changed: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileIdentity:
        """The identity that a file has now."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@contextmanager
def open_plain(path: Path) -> Iterator[tuple[BufferedReader, FileIdentity]]:
    """Open a regular file for reading, without ever waiting for a pipe or a device.

    Raises:
        OSError: it cannot be opened, or is something else than a file.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            found = next((words for test, words in _KINDS if test(status.st_mode)), "something else")
            raise OSError(errno.EINVAL, f"expected a file, found {found}", str(path))
        yield file, FileIdentity.of(status)


def read_plain(path: Path, most: int) -> bytes:
    """All of a regular file.

    Args:
        path: of the file.
        most: bytes it may have.

    Raises:
        OSError: it cannot be read, is no file, or is larger.
    """
    with open_plain(path) as (file, _):
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"expected at most {most} bytes, found more", str(path))
    return content


def is_file(path: Path) -> bool:
    """Whether there is a regular file: names that no file can have (too long, with a NUL) are no error here."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
