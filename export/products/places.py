"""Where products are written: what may be replaced there, and files that appear whole or not at all."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ifseg_rt.artifact.plain_file import read_plain
from ifseg_rt.artifact.sealed_json import LARGEST_SIDECAR
from ifseg_rt.errors import IfsegError, UsageError


def check_places(targets: Sequence[Path], source: Path | None) -> None:
    """Refuses places that cannot be written to or hold what must not be replaced.

    Args:
        targets: the files to write, all in one folder.
        source: what they are made from.

    Raises:
        UsageError: their folder does not exist; one of them is a folder, a link, the source, or has an impossible name.
    """
    try:
        if not targets[0].parent.is_dir():
            raise UsageError(f"the folder {targets[0].parent} for the output does not exist")
        for target in targets:
            if target.is_symlink():
                raise UsageError(
                    f"{target} is a link; expected a file to write, or nothing", hint=f"name {_end_of(target)} itself"
                )
            if target.is_dir():
                raise UsageError(f"{target} is a folder; expected the name of a file to write")
            if target.exists() and not target.is_file():
                raise UsageError(f"{target} is a device or a pipe; expected the name of a file to write")
            if source is not None and target.exists() and source.exists() and target.samefile(source):
                raise UsageError(f"{target} is what the output is made from, and would be overwritten")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"the output cannot be {targets[0]}: {reason}") from None


def refuse_foreign_json(sidecar: Path, kind: str) -> None:
    """Refuses to replace a ``.json`` that belongs to somebody else.

    Args:
        sidecar: the place of the sidecar.
        kind: of sidecars that may be replaced.

    Raises:
        UsageError: there is one.
    """
    try:
        found = json.loads(read_plain(sidecar, LARGEST_SIDECAR))
    except FileNotFoundError:
        return
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or found.get("kind") != kind:
        raise UsageError(
            f"{sidecar} is there and is not a sidecar of ours; it would be replaced by the one of the output",
            hint="name another output: -o OTHER",
        )


@contextmanager
def scratch_beside(target: Path) -> Iterator[Path]:
    """A folder beside ``target``, so that finished files only have to be renamed; gone afterwards, whatever happens.

    Raises:
        IfsegError: the disk is full, or the place cannot be written to.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=f".{target.name[:80]}.", dir=target.parent) as made:
            yield Path(made)
    except OSError as error:
        raise IfsegError(
            f"cannot write {target}: {error.strerror or error}",
            hint="nothing was written; make room there, or name another place: -o PATH",
        ) from error


def moved_into(folder: Path, drafts: Sequence[Path]) -> None:
    """Moves finished files into ``folder`` in this order; the last one tells readers that all are there."""
    for draft in drafts:
        draft.replace(folder / draft.name)


def _end_of(link: Path) -> str:
    try:
        return str(link.resolve())
    except (OSError, RuntimeError):
        return "the file"
