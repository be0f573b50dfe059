"""The categories a user asks for: read from the command line or a file, checked, and written for the adaptation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ifseg_rt.errors import UsageError, VocabularyError

if TYPE_CHECKING:
    from ifseg_rt.artifact.sidecar import Artifact

_COLOR = re.compile(r"\s+#([0-9a-fA-F]{6})$")
_FORMAT = "one category per line: name, synonym, synonym #rrggbb (synonyms and colour may be left out)"


@dataclass(frozen=True)
class WantedCategory:
    """One category: its name, further words for it, and its RGB colour where the user chose one."""

    name: str
    synonyms: tuple[str, ...] = ()
    color: tuple[int, int, int] | None = None

    @property
    def line(self) -> str:
        """The category as a line of a category file."""
        words = ", ".join((self.name, *self.synonyms))
        return words if self.color is None else words + " #{:02x}{:02x}{:02x}".format(*self.color)


def parse_categories(text: str) -> tuple[WantedCategory, ...]:
    """Read ``"sky, road, traffic light"``.

    Raises:
        VocabularyError: a name is empty or given twice.
    """
    return _checked([WantedCategory(_tidy(name)) for name in text.split(",")], "--categories")


def read_categories(path: Path) -> tuple[WantedCategory, ...]:
    """Read a category file: one per line, ``name, synonym, synonym #rrggbb``; lines starting with ``#`` are comments.

    Raises:
        UsageError: the file cannot be read.
        VocabularyError: it is empty, or a name is empty or given twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read the category file {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise UsageError(f"the category file {path} is not UTF-8 text", hint=_FORMAT) from None
    lines = [line.strip() for line in text.splitlines()]
    return _checked([_parse_line(line) for line in lines if line and not line.startswith("#")], str(path))


def write_categories(path: Path, categories: Sequence[WantedCategory]) -> None:
    """Write a category file."""
    path.write_text("".join(category.line + "\n" for category in categories), encoding="utf-8")


def are_those_of(categories: Sequence[WantedCategory], artifact: Artifact) -> bool:
    """Whether a model already labels exactly these categories, in this order, with the colours asked for."""
    return len(categories) == len(artifact.categories) and all(
        wanted.name == have.name and wanted.synonyms == have.synonyms and wanted.color in (None, have.color)
        for wanted, have in zip(categories, artifact.categories, strict=True)
    )


def _parse_line(line: str) -> WantedCategory:
    color: tuple[int, int, int] | None = None
    match = _COLOR.search(line)
    if match is not None:
        red, green, blue = bytes.fromhex(match.group(1))
        color, line = (red, green, blue), line[: match.start()]
    name, *synonyms = (_tidy(word) for word in line.split(","))
    return WantedCategory(name, tuple(synonyms), color)


def _tidy(word: str) -> str:
    return " ".join(word.split())


def _checked(categories: list[WantedCategory], origin: str) -> tuple[WantedCategory, ...]:
    if not categories:
        raise VocabularyError(f"{origin} names no category", hint=_FORMAT)
    seen: set[str] = set()
    for number, category in enumerate(categories, start=1):
        if not all((category.name, *category.synonyms)):
            raise VocabularyError(f"{origin}: category {number} has an empty word", hint="remove the extra comma")
        if category.name in seen:
            raise VocabularyError(f"{origin}: the category {category.name!r} is given twice")
        seen.add(category.name)
    return tuple(categories)
