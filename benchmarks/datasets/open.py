"""Opens a labelled set by the name that a user gives: a known set, or a folder in the project's own layout."""

from __future__ import annotations

from pathlib import Path

from benchmarks.datasets.folder import open_folder
from benchmarks.datasets.known import KNOWN, open_known
from benchmarks.datasets.picture_set import PictureSet
from ifseg_rt.errors import SourceError, UsageError


def open_set(name: str, root: Path | None = None, *, split: str | None = None, labels: str = "auto") -> PictureSet:
    """Open one of the known sets, or any folder in the project's own layout.

    Args:
        name: a known set such as ``voc``, or a folder.
        root: where the known set lies.
        split: which part; ``None`` for the one that is usually evaluated.
        labels: ``auto``, or ``raw`` or ``converted`` where both kinds of label values are in use.

    Raises:
        UsageError: an option is missing or does not fit.
        SourceError: the files do not lie as expected.
    """
    if name in KNOWN:
        if root is None:
            raise UsageError(f"--dataset {name} needs --root, the folder with the set", hint=KNOWN[name].expected)
        return open_known(name, root, split=split, labels=labels)
    if root is not None:
        raise UsageError(f"there is no set {name!r}", hint=f"with --root, --dataset is one of {', '.join(KNOWN)}")
    if labels != "auto":
        raise UsageError("--labels is for the known sets; a folder says in its meta.json what its values are")
    if not Path(name).is_dir():
        raise SourceError(f"there is no folder {name}", hint=f"a folder, or one of {', '.join(KNOWN)} with --root")
    return open_folder(Path(name) / split if split else Path(name))
