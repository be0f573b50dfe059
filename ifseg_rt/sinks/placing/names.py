"""File names made of other people's words: source names, category names."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_USUAL_LONGEST = 255  # bytes; of nearly every file system
# What one of the usual systems refuses in a name, or takes for something else.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?$")


def longest_name(folder: Path) -> int:
    """How many bytes a name in this folder may have."""
    with suppress(OSError, ValueError, AttributeError):  # AttributeError: Windows
        return max(64, os.pathconf(folder, "PC_NAME_MAX"))
    return _USUAL_LONGEST


def shortened(stem: str, room: int) -> str:
    """A stem of at most ``room`` bytes; a longer one is cut and gets eight digits of its hash to stay distinct."""
    name = os.fsencode(stem)
    if len(name) <= room:
        return stem
    digest = hashlib.sha256(name).hexdigest()[:8]
    kept = stem
    while len(os.fsencode(kept)) > room - 9:
        kept = kept[:-1]
    return f"{kept}~{digest}"


def partial_name(path: Path, suffix: str) -> Path:
    """A free name beside ``path`` that says it is not finished: ``NAME.partial`` and the suffix, or ``.partial-2``."""
    stem = shortened(path.stem, longest_name(path.parent) - len(f".partial-999{suffix}"))
    free, number = path.with_name(f"{stem}.partial{suffix}"), 1
    while os.path.lexists(free):
        number += 1
        free = path.with_name(f"{stem}.partial-{number}{suffix}")
    return free


def same_name(name: str) -> str:
    """A key that is equal for names which a file system that ignores case and Unicode forms takes for one."""
    return unicodedata.normalize("NFC", name).casefold()


def file_stems(words: Sequence[str]) -> tuple[str, ...]:
    """A distinct file name without suffix for every word, valid on every usual system and close to the word."""
    taken: set[str] = set()
    stems = []
    for word in words:
        stem = _UNSAFE.sub("_", word).strip(" .").lstrip("-~") or "_"
        if _RESERVED.match(stem):
            stem = f"_{stem}"
        stem = shortened(stem, 200)
        free, number = stem, 1
        while same_name(free) in taken:
            number += 1
            free = f"{stem}-{number}"
        taken.add(same_name(free))
        stems.append(free)
    return tuple(stems)
