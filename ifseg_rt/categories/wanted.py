"""What a category is, and which texts can be its names."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from ifseg_rt.errors import VocabularyError

if TYPE_CHECKING:
    from ifseg_rt.artifact.sidecar import Artifact

FORMS = (
    'expected one category per line (name, synonym #rrggbb), a JSON or YAML list or "names" map, or CSV with a column '
    '"name"'
)
LONGEST_NAME = 200

# Controls, what steers or hides text (zero width, bidi), halves of characters, private use, line and paragraph ends.
_KINDS = {
    "Cc": "a control character",
    "Cf": "an invisible character",
    "Cs": "half a character",
    "Co": "a private character",
    "Zl": "a line end",
    "Zp": "a line end",
}
# Invisible, but letters, marks or symbols to Unicode: joiners, fillers, the empty Braille cell, variation selectors.
_INVISIBLE = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0}
_INVISIBLE |= {*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)}
_RESERVED = {",": "a comma separates", "#": "'#' begins a colour or, in a file of lines, a comment"}


@dataclass(frozen=True)
class WantedCategory:
    """One category: its name, further words for it, and its RGB colour where the user chose one."""

    name: str
    synonyms: tuple[str, ...] = ()
    color: tuple[int, int, int] | None = None


def are_those_of(categories: Sequence[WantedCategory], artifact: Artifact) -> bool:
    """Whether a model already labels exactly these categories, in this order, with the colours asked for."""
    return len(categories) == len(artifact.categories) and all(
        wanted.name == have.name and wanted.synonyms == have.synonyms and wanted.color in (None, have.color)
        for wanted, have in zip(categories, artifact.categories, strict=True)
    )


def checked(categories: Sequence[WantedCategory], origin: str) -> tuple[WantedCategory, ...]:
    """The categories, unchanged.

    Args:
        categories: in label order.
        origin: where they come from, for messages.

    Raises:
        VocabularyError: there are none, a text cannot be a name, or two words differ by no more than case, hyphens,
            underscores or the way in which Unicode composes them.
    """
    if not categories:
        raise VocabularyError(f"{origin} names no category: the list is empty", hint=FORMS)
    seen: dict[str, tuple[str, str]] = {}
    for number, category in enumerate(categories, start=1):
        for word in (category.name, *category.synonyms):
            _check_word(word, f"{origin}: category {number}")
            if _key(word) in seen:
                _refuse_second(*seen[_key(word)], word, category.name, origin)
            seen[_key(word)] = (word, category.name)
    return tuple(categories)


def shown(text: str) -> str:
    """A text for a message: quoted, without anything that a terminal would obey, not too long."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def code_point(char: str) -> str:
    """``U+200B ZERO WIDTH SPACE``."""
    return f"U+{ord(char):04X} {unicodedata.name(char, '')}".rstrip()


def _check_word(word: str, place: str) -> None:
    if not word.strip():
        raise VocabularyError(f"{place} has an empty word", hint="remove the extra comma, or name it")
    place = f"{place}, {shown(word)},"
    for char in word:
        kind = _KINDS.get(unicodedata.category(char))
        if ord(char) in _INVISIBLE:
            kind = "an invisible character"
        elif char == "\ufffd" or ord(char) & 0xFFFE == 0xFFFE or 0xFDD0 <= ord(char) <= 0xFDEF:
            kind = "a mark of damaged text"
        if kind is not None:
            raise VocabularyError(f"{place} holds {kind}: {code_point(char)}", hint="remove it from the name")
        if char in _RESERVED:
            raise VocabularyError(
                f"{place} holds {char!r}, which cannot be part of a name: {_RESERVED[char]}",
                hint='in lines "road, street #804080"; in lists {"name": "road", "synonyms": ["street"], '
                '"color": "#804080"}',
            )
        if char.isspace() and char != " ":
            raise VocabularyError(f"{place} holds {code_point(char)}", hint="write a plain space or a comma instead")
    if word != " ".join(word.split()):
        raise VocabularyError(f"{place} has spaces around it or two in a row", hint=f"write {' '.join(word.split())!r}")
    if not any(char.isalnum() for char in word):
        raise VocabularyError(f"{place} holds no letter and no digit", hint="give the category a name")
    if len(word) > LONGEST_NAME:
        raise VocabularyError(f"{place} is {len(word)} characters long; a name has at most {LONGEST_NAME}")


def _key(word: str) -> str:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", word).casefold())
    return " ".join(folded.replace("_", " ").replace("-", " ").split())


def _refuse_second(other: str, owner: str, word: str, name: str, origin: str) -> NoReturn:
    if other == owner == word == name:
        raise VocabularyError(f"{origin}: the category {shown(word)} is given twice", hint="remove one of the two")
    why = ""
    if other != word and unicodedata.normalize("NFKC", other) == unicodedata.normalize("NFKC", word):
        # The highest of what only one of them has is the combining mark or the special form.
        why = "".join(f" (one is written with {code_point(char)})" for char in sorted({*other} ^ {*word})[-1:])
    raise VocabularyError(
        f"{origin}: {shown(other)} of category {shown(owner)} and {shown(word)} of category {shown(name)} "
        f"are the same{why}",
        hint="remove one of the two",
    )
