"""Categories as people type them: ``sky, road #804080`` on the command line, ``name, synonym #rrggbb`` in lines."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from typing import NoReturn

from ifseg_rt.categories.values import rgb_of
from ifseg_rt.categories.wanted import WantedCategory, checked, code_point, shown
from ifseg_rt.errors import VocabularyError

# What stands between names in other notations, the comma of other scripts among it.
_SEPARATORS = re.compile(
    "[;|\\t\\r\\n\\v\\f\\x85\u2028\u2029\uff0c\u3001\uff1b\uff5c\u060c\u061b\uff64\ufe50\ufe51\ufe54]+"
)
_COMMENT = re.compile(r"(?:^|[ \t])#(?=[ \t]|$).*")
_COLORED = re.compile(r"(.*?) (#\S*)")
_NOTATION = re.compile(r"""[][{}<>"`:=]""")
_NUMBERED = re.compile(r"[0-9]+(?:[.):]? .*)?")
_JOINED = re.compile(r"(?:^| )(?:and|or) ", re.I)
_FILE = re.compile(r"\.(?:txt|names|json|ya?ml|[ct]sv)$", re.I)
_DIVIDED = re.compile(r"[/\\()&+•·]+|\. | - ")  # fine in one name of many
_MOST_WORDS = 4


def read_text(text: str, origin: str) -> tuple[WantedCategory, ...]:
    """Read ``sky, traffic light, road #804080``.

    Raises:
        VocabularyError: an entry cannot be a name, or the whole looks like another notation than this.
    """
    text = text.strip(" \t\r\n")
    _refuse_separators(text, origin, "write commas between them")
    wanted = _beyond_doubt(checked([_entry([part]) for part in text.split(",")], origin), origin)
    if len(wanted) > 1 and _JOINED.search(wanted[-1].name):
        _doubt(wanted[-1], origin, "seems to end a sentence", _JOINED.split(wanted[-1].name))
    return wanted


def read_lines(text: str, origin: str) -> tuple[WantedCategory, ...]:
    """Read one category per line, ``name, synonym, synonym #rrggbb``.

    A line that starts with ``#`` is a comment, and so is the rest of a line from `` # `` on.

    Raises:
        VocabularyError: as :func:`read_text`.
    """
    wanted = []
    for line in re.split(r"\r\n|\r|\n", text):
        line = line.strip(" \t")
        line = "" if line.startswith("#") else _COMMENT.sub("", line).strip(" \t")
        if line:
            _refuse_separators(line, origin, "write each on a line of its own")
            wanted.append(_entry(line.split(",")))
    wanted = list(_beyond_doubt(checked(wanted, origin), origin))
    if len(wanted) == 1 and wanted[0].synonyms:
        names = [wanted[0].name, *wanted[0].synonyms]
        _doubt(wanted[0], origin, f"has the synonyms {', '.join(map(shown, names[1:4]))}", names)
    return tuple(wanted)


def _entry(words: list[str]) -> WantedCategory:
    color = None
    words = [re.sub(" +", " ", word).rstrip(" ") for word in words]
    match = _COLORED.fullmatch(words[-1])
    if match is not None and (color := rgb_of(match[2])) is not None:
        words[-1] = match[1]
    name, *synonyms = (word.strip(" ") for word in words)
    return WantedCategory(name, tuple(synonyms), color)


def _refuse_separators(text: str, origin: str, how: str) -> None:
    match = _SEPARATORS.search(text)
    if match is None:
        return
    mark = match[0][0]
    whole = next(part for part in text.split(",") if mark in part)
    raise VocabularyError(
        f"{origin}: {shown(whole.strip())} holds {mark!r} ({code_point(mark)}), which separates nothing here; "
        f"did you mean {_several(_SEPARATORS.split(whole))}?",
        hint=f"{how}; {_insist([whole.strip()])}" if mark.isprintable() else how,
    )


def _beyond_doubt(wanted: Sequence[WantedCategory], origin: str) -> tuple[WantedCategory, ...]:
    """Refuses what is a name by its characters, but more probably a mistake."""
    names = [category.name for category in wanted]
    if len(names) > 1 and all(_NUMBERED.fullmatch(name) for name in names):
        words = (word for category in wanted for word in (category.name, *category.synonyms))
        _doubt(wanted[0], origin, "begins with a number, as all do", [re.sub("^[0-9]+[.):]? ?", "", w) for w in words])
    for category in wanted:
        for word in (category.name, *category.synonyms):
            notation = _NOTATION.search(word)
            first, last = word[0], word[-1]
            if notation is not None:
                _doubt(category, origin, f"holds {shown(notation[0])}", re.split(r"""[][{}<>"'`:=]+""", word))
            if not first.isalnum() or not (last.isalnum() or last == ")" or unicodedata.category(last)[0] == "M"):
                odd = last if first.isalnum() else first
                _doubt(category, origin, f"begins or ends with {odd!r}", [re.sub(r"^\W+|\W+$", "", word)])
    if len(wanted) == 1:
        (category,) = wanted
        if _FILE.search(category.name):
            raise VocabularyError(
                f"{origin}: {shown(category.name)} looks like a file, and would be the name of one category",
                hint=f"--categories-file {category.name}, in Python Path({category.name!r}); {_insist(names)}",
            )
        if _DIVIDED.search(category.name):
            _doubt(category, origin, "is the only one, and seems to be several", _DIVIDED.split(category.name))
        if len(category.name.split()) > _MOST_WORDS:
            _doubt(category, origin, f"is the only one, and has more than {_MOST_WORDS} words", category.name.split())
    return tuple(wanted)


def _doubt(category: WantedCategory, origin: str, why: str, parts: Sequence[str]) -> NoReturn:
    raise VocabularyError(
        f"{origin}: the category {shown(category.name)} {why}; did you mean {_several(parts)}?",
        hint=_insist([category.name, *category.synonyms]),
    )


def _several(parts: Sequence[str]) -> str:
    names = [shown(name) for part in parts if (name := part.strip(" ,.-'\""))] or ["'sky'", "'road'"]
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")


def _insist(words: list[str]) -> str:
    entry = words[0] if len(words) == 1 else {"name": words[0], "synonyms": words[1:]}
    written = json.dumps([entry], ensure_ascii=not "".join(words).isprintable())
    return f"if it is meant so, give a JSON list: {written}" if len(written) < 200 else "if so, give a JSON list"
