"""Files that are whole or not there: new ones never through a link, finished ones moved into place in one step."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# Windows has no links to refuse here, and tells text from binary files.
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True)
class Place:
    """Where an output belongs.

    Attributes:
        path: its name.
        replaces: whether a file of that name is replaced at the end, because the user named it or it is our own;
            otherwise whatever appeared there in the meantime stays.
    """

    path: Path
    replaces: bool = False


def new_file(path: Path) -> int:
    """Make and open a file that must not exist, links included; it gets the permissions that the umask leaves.

    Returns:
        The descriptor, for reading and writing.

    Raises:
        FileExistsError: something of that name is there.
        OSError: the file system refuses.
    """
    return os.open(path, _NEW, 0o666)


def beside(path: Path, suffix: str = ".part") -> Path:
    """A hidden, random name in the folder of ``path``, short enough where that one already fills the room."""
    return path.with_name(f".{os.urandom(6).hex()}{suffix}")


def put_in_place(made: Path, place: Place) -> None:
    """Move a finished file to its place in one step.

    Raises:
        FileExistsError: the place is taken and may not be replaced; ``made`` is left where it is.
        OSError: the file system refuses; the same.
    """
    if place.replaces:
        made.replace(place.path)
        return
    try:
        # Unlike a rename, a new link never replaces anything, even what appeared a moment ago.
        os.link(made, place.path, follow_symlinks=False)
    except FileExistsError:
        raise
    except (OSError, RuntimeError):  # no hard links here (FAT, some network shares): as close as it gets
        if os.path.lexists(place.path):
            raise FileExistsError(errno.EEXIST, "File exists", str(place.path)) from None
        made.rename(place.path)
    else:
        made.unlink()


def write_whole(place: Place, content: bytes) -> None:
    """Write a file beside its place and move it there: nobody ever sees half of it.

    Raises:
        OSError: the file system refuses; nothing is left, and what was there stays.
    """
    made = beside(place.path)
    try:
        with os.fdopen(new_file(made), "wb") as file:
            file.write(content)
        put_in_place(made, place)
    finally:
        with suppress(OSError):
            made.unlink(missing_ok=True)


class AppendFile:
    """A file that grows piece by piece and never holds half a piece.

    Args:
        path: its name; it must not exist unless ``go_on``.
        go_on: append to an existing file.

    Raises:
        OSError: it cannot be made or opened.
    """

    def __init__(self, path: Path, *, go_on: bool = False) -> None:
        self.path = path
        flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        self._descriptor: int | None = os.open(path, flags) if go_on else new_file(path)
        self.size = os.lseek(self._descriptor, 0, os.SEEK_END)

    def append(self, piece: bytes) -> None:
        """Add a piece, handed to the system at once: what is here survives the end of this process.

        Raises:
            OSError: the disk is full, say; the file ends with the piece before.
        """
        if self._descriptor is None:
            raise OSError(errno.EBADF, "the file is closed", str(self.path))
        rest = memoryview(piece)
        try:
            while rest:  # a disk that is nearly full takes a part first and refuses the rest
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self.size)
                os.lseek(self._descriptor, self.size, os.SEEK_SET)
            raise
        self.size += len(piece)

    def close(self) -> None:
        """Close it; may be called twice.

        Raises:
            OSError: the system could not keep what it took (a network share over its quota).
        """
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            try:
                sync(descriptor)
            finally:
                os.close(descriptor)


def sync(descriptor: int) -> None:
    """Have the system write everything out, so that what it cannot keep is known now.

    Raises:
        OSError: it cannot.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # this file system does not know how
            raise


def in_words(error: OSError) -> str:
    """What the system said, without numbers and paths."""
    return error.strerror or str(error) or type(error).__name__
