"""A folder for the outputs of one run: nothing that is in it is ever replaced."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ifseg_rt.sinks.base import SinkError
from ifseg_rt.sinks.jsonl import JsonLinesFile
from ifseg_rt.sinks.placing.files import in_words
from ifseg_rt.sinks.placing.names import longest_name, same_name, shortened

if TYPE_CHECKING:
    from filelock import FileLock

RESULTS = "results.jsonl"
_LOCK = ".ifseg-rt.lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_ADDED = 40  # bytes of a name after the stem: "-123_overlay.partial-12.mp4" and some more


class OutputFolder:
    """Hands out names that are free, while no other run can do so.

    Args:
        path: the folder, which is made where it is missing.
        note: told what a user should know.

    Raises:
        SinkError: it cannot be made or written into, or another run is writing into it.
    """

    def __init__(self, path: Path, note: Callable[[str], None]) -> None:
        self.path = path
        self._note = note
        self._made = not os.path.lexists(path)
        self._lock: FileLock | None = None
        try:
            path.mkdir(parents=True, exist_ok=True)
            if not os.access(path, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, "no permission", str(path))
            self._lock = self._take()
            # A folder that tells A from a gets both; the lock file is there to ask it.
            self._tells_case = self._lock is not None and not (path / _LOCK.upper()).exists()
            self._taken = {self._key(entry.name) for entry in path.iterdir()}
            self._room = longest_name(path) - _ADDED
        except OSError as error:
            self.close()
            raise SinkError(f"cannot write into the output folder {path}: {in_words(error)}") from error

    def reserve(self, stem: str, endings: Sequence[str]) -> str:
        """Find a stem of which all names are free, and take them: ``stem``, ``stem-2``, ...

        Args:
            stem: what they should begin with.
            endings: what follows it in the names.
        """
        stem = shortened(stem.replace("/", "_").replace(os.sep, "_").replace("\0", "_") or "_", self._room)
        free, number = stem, 1
        while any(self._key(free + ending) in self._taken for ending in endings):
            number += 1
            free = f"{stem}-{number}"
        self._taken.update(self._key(free + ending) for ending in endings)
        return free

    def results(self) -> JsonLinesFile:
        """Where the records of this run go: the file of earlier runs where it is ours and whole, else a new one."""
        path = self.path / RESULTS
        if not os.path.lexists(path):
            return JsonLinesFile(path)
        if _can_go_on(path):
            self._note(f"records are added to those of earlier runs in {path}")
            return JsonLinesFile(path, go_on=True)
        free = self.path / f"{self.reserve(path.stem, [path.suffix])}{path.suffix}"
        self._note(f"records go to {free}: {path} is not ours to write to")
        return JsonLinesFile(free)

    def close(self) -> None:
        """Let other runs in, and remove the folder where it was made for nothing; may be called twice."""
        lock, self._lock = self._lock, None
        if lock is not None:
            with suppress(OSError):
                (self.path / _LOCK).unlink()  # before it is given up: later it could be another run's
            lock.release()
        if self._made:
            self._made = False
            with suppress(OSError):
                self.path.rmdir()

    def _key(self, name: str) -> str:
        return name if self._tells_case else same_name(name)

    def _take(self) -> FileLock | None:
        from filelock import FileLock, Timeout

        path = self.path / _LOCK
        if path.is_symlink():
            raise OSError(errno.ELOOP, f"{_LOCK} is a link", str(path))
        lock = FileLock(path, timeout=0, mode=0o666)
        try:
            lock.acquire()
            if not path.exists():  # removed by the run before, between our opening and locking it
                lock.release()
                lock.acquire()
        except Timeout:
            raise SinkError(
                f"another run is writing into the output folder {self.path}",
                hint="wait for its end, or name another folder with --output",
            ) from None
        except (RuntimeError, OSError) as error:  # RuntimeError: not made for this system
            if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
                raise
            self._note(f"two runs at once into {self.path} cannot be told apart: its file system knows no locks")
            return None
        return lock


def _can_go_on(path: Path) -> bool:
    """Whether records can be added to a file: no link, of one name only, made of our lines, the last one whole."""
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or not os.access(path, os.W_OK):
            return False
        if found.st_size == 0:
            return True
        with path.open("rb") as file:
            first = json.loads(file.readline(1 << 20))
            file.seek(-1, os.SEEK_END)
            return isinstance(first, dict) and "source" in first and file.read() == b"\n"
    except (OSError, ValueError):
        return False
