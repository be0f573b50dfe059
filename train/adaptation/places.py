"""The names that an adaptation will write, looked at before any work."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from ifseg_rt.errors import UsageError
from train.checkpoints.locate import is_folder, kind_of

RESUME_SUFFIX = ".resume"
_CHOOSE = "choose another --out"


def resume_path(out: Path) -> Path:
    """The resume file beside ``out``; refuses what could not be written after hours of work.

    Raises:
        UsageError: no name, no such folder, no file can be made in it, or something that is not a file is in the way.
    """
    try:
        if not out.parent.is_dir():
            raise UsageError(f"the folder {out.parent} for the checkpoint does not exist", hint="create it first")
        if out.is_dir():
            raise UsageError(f"--out {out} is a folder, expected a file", hint=f"for example {out / 'ckpt.pt'}")
        resume_file = out.with_name(out.name + RESUME_SUFFIX)
        for path in (out, resume_file):
            if path.exists() and not path.is_file():
                raise UsageError(f"{path} is in the way: not a regular file", hint=_CHOOSE)
        # Rights alone do not tell: read-only file systems, names that are too long, the superuser.
        handle, temporary = tempfile.mkstemp(dir=out.parent, prefix=f".{resume_file.name}.")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"cannot write {str(out)[:300]}: {reason}", hint=_CHOOSE) from error
    os.close(handle)
    Path(temporary).unlink()
    return resume_file


def refuse_sources(targets: Iterable[Path], sources: Iterable[Path]) -> None:
    """Refuses to write over what is read, by whatever name: links and other spellings included.

    Args:
        targets: files that will be written.
        sources: files, and folders for the files in them.

    Raises:
        UsageError: a target is a source.
    """
    read = [file for source in sources for file in (_files(source) if is_folder(source) else [source])]
    for target in targets:
        for source in read:
            if _same(target, source):
                raise UsageError(f"{target} would be written over {source}, which is read", hint=_CHOOSE)


def refuse_foreign(targets: Iterable[Path]) -> None:
    """Refuses to replace files that this command did not write.

    Raises:
        UsageError: a target is there, has contents, and is neither a checkpoint nor a resume file of ours.
    """
    for target in targets:
        if target.is_file() and target.stat().st_size > 0 and kind_of(target) not in ("own", "resume"):
            raise UsageError(f"{target} exists and is no checkpoint of ours", hint=f"remove it, or {_CHOOSE}")


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []  # said when it is read


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False
