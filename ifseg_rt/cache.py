"""The user's cache folder: one place, one lock, one atomic replace for everything that is kept between runs."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import FileLock

_LOG = logging.getLogger(__name__)
CACHE_VARIABLE = "IFSEG_RT_CACHE"
_DIGEST_BYTES = 32
_instead: dict[Path, Path] = {}  # folders that cannot be used -> what is used instead
_WAIT = 60.0  # seconds; what is done under a lock takes milliseconds


def cache_folder(room: str) -> Path:
    """The folder for one kind of content, which need not exist: below ``IFSEG_RT_CACHE`` or the system's cache folder.

    Args:
        room: ``"models"``, ``"kernels"``, ``"timing"``, ``"compiled"`` or ``"onnxruntime-tensorrt"``.
    """
    import platformdirs

    chosen = os.environ.get(CACHE_VARIABLE)
    return (Path(chosen) if chosen else platformdirs.user_cache_path("ifseg-rt")) / room


def usable_folder(room: str) -> Path:
    """The folder for one kind of content, made, and sure to be one that can be written to.

    Where the cache folder is read-only, full or owned by someone else, a folder of this process's user in the system's
    temporary folder takes its place, which is said once. Someone else's folder is used only where ``IFSEG_RT_CACHE``
    names it: its owner can exchange what lies there.

    Raises:
        OSError: there is no temporary folder either.
    """
    wanted = cache_folder(room)
    if wanted in _instead:
        return _instead[wanted]
    reason = _why_unusable(wanted, owned=not os.environ.get(CACHE_VARIABLE))
    if reason is None:
        return wanted
    user = str(os.getuid()) if hasattr(os, "getuid") else "user"
    place = Path(tempfile.gettempdir()) / f"ifseg-rt-{user}" / room
    with suppress(OSError):
        place.parent.mkdir(mode=0o700, exist_ok=True)
    # Its name can be guessed: what someone else has put there is left alone.
    if place.parent.is_symlink() or any(_why_unusable(folder, owned=True) for folder in (place.parent, place)):
        place = Path(tempfile.mkdtemp(prefix="ifseg-rt-"))
    _LOG.warning(
        "the cache folder %s cannot be used (%s): %s takes its place; %s=FOLDER names another",
        wanted,
        reason,
        place,
        CACHE_VARIABLE,
    )
    _instead[wanted] = place
    return place


def seal(content: bytes) -> bytes:
    """``content`` behind its SHA-256, so that :func:`unseal` knows whether it is whole."""
    return hashlib.sha256(content).digest() + content


def unseal(sealed: bytes) -> bytes | None:
    """What was sealed, or ``None`` where it was cut short, damaged or never sealed."""
    content = sealed[_DIGEST_BYTES:]
    return content if hashlib.sha256(content).digest() == sealed[:_DIGEST_BYTES] else None


def _why_unusable(folder: Path, *, owned: bool) -> str | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if owned and hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
            return "it belongs to another user"
        with tempfile.TemporaryFile(dir=folder) as trial:
            trial.write(b"1")
    except OSError as error:
        return error.strerror or str(error)
    except ValueError:  # a NUL in its name
        return os.strerror(errno.EINVAL)
    return None


def file_lock(path: Path, *, wait: float | None = None) -> FileLock:
    """A lock between processes, itself the file ``path``, whose folder is made; taken with ``with``.

    Args:
        path: the lock file.
        wait: seconds until ``filelock.Timeout``, an ``OSError``, is raised by taking it; ``None`` for a minute, below
            0 for no limit.

    Raises:
        OSError: the folder cannot be made.
    """
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path, timeout=_WAIT if wait is None else wait)


def replace_file(path: Path, content: bytes) -> None:
    """Write ``content`` beside ``path`` and put it in place in one step: a reader sees the old file or the new one.

    Raises:
        OSError: the file system refuses; ``path`` is as it was, and nothing is left beside it.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
