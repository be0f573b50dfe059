"""Categories as lists and maps: what JSON, YAML and Python hold. A text here is a name, exactly as it stands."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import Any

from ifseg_rt.categories.wanted import WantedCategory, checked, shown
from ifseg_rt.errors import UsageError, VocabularyError

_COLOR = re.compile(r"#([0-9a-fA-F]{6}|[0-9a-fA-F]{3})")
_FIELDS = ("name", "synonyms", "color")
_ENTRY = 'a name, or {"name": "road", "synonyms": ["street"], "color": "#804080"}'
_NUMBERED = "expected the numbers 0, 1, 2, ... without gaps, each with its name: {0: sky, 1: road}"


def categories_of(value: object, origin: str) -> tuple[WantedCategory, ...]:
    """Categories from a list of names or entries, a map ``{0: name, 1: name}``, or a map with the key ``names``.

    Args:
        value: the list or map; an entry is a name, a :class:`WantedCategory`, or a map with ``name`` and, where
            wanted, ``synonyms`` (a list) and ``color`` (``#rrggbb`` or three numbers of 0..255).
        origin: where it comes from, for messages.

    Raises:
        UsageError: it is something else, such as a set, which has no order.
        VocabularyError: it is empty, or an entry names no category.
    """
    if isinstance(value, Mapping):
        value = _in_order(value, origin)
    if isinstance(value, AbstractSet):
        raise UsageError(
            f"{origin}: a set has no order, and the order gives the labels", hint='give a list: ["a", "b"]'
        )
    if not isinstance(value, Sequence) or isinstance(value, str | bytes | bytearray | memoryview):
        raise UsageError(
            f"{origin}: expected a list of names, found {_kind(value)}", hint='for example ["sky", "road"]'
        )
    return checked([_category(entry, f"{origin}: category {n}") for n, entry in enumerate(value, start=1)], origin)


def records(categories: Sequence[WantedCategory]) -> list[dict[str, Any]]:
    """Plain values from which :func:`categories_of` makes the same categories."""
    return [
        {"name": c.name, "synonyms": list(c.synonyms), "color": list(c.color) if c.color else None} for c in categories
    ]


def rgb_of(text: str) -> tuple[int, int, int] | None:
    """The colour ``#rrggbb`` or ``#rgb``; ``None`` for any other text."""
    match = _COLOR.fullmatch(text)
    if match is None:
        return None
    digits = match[1] if len(match[1]) == 6 else "".join(digit * 2 for digit in match[1])
    red, green, blue = bytes.fromhex(digits)
    return red, green, blue


def _in_order(names: Mapping[Any, Any], origin: str) -> object:
    if "names" in names:
        found = names["names"]
        if isinstance(found, Mapping):
            found = _in_order(found, origin) if "names" not in found else None
        count = names.get("nc")
        if isinstance(found, Sequence) and count not in (None, len(found), str(len(found))):
            raise UsageError(
                f"{origin}: nc is {_kind(count)}, but there are {len(found)} names", hint="correct one of them"
            )
        return found
    numbered = {_number(key): value for key, value in names.items()}
    if len(numbered) != len(names) or set(numbered) != set(range(len(names))):
        keys = ", ".join(shown(key) if isinstance(key, str) else _kind(key) for key in list(names)[:4])
        raise UsageError(f'{origin}: there is no key "names", and the keys ({keys}) are no labels', hint=_NUMBERED)
    return [numbered[label] for label in range(len(numbered))]


def _number(key: object) -> int | None:
    if isinstance(key, str) and re.fullmatch("[0-9]{1,6}", key):
        return int(key)
    return key if type(key) is int else None


def _category(entry: object, place: str) -> WantedCategory:
    if isinstance(entry, WantedCategory):
        entry = {"name": entry.name, "synonyms": entry.synonyms, "color": entry.color}
    if isinstance(entry, str):
        return WantedCategory(_plain(entry))
    if not isinstance(entry, Mapping):
        raise VocabularyError(f"{place} is {_kind(entry)}, expected text", hint=f"expected {_ENTRY}")
    foreign = [str(key) for key in entry if key not in _FIELDS]
    if foreign or not isinstance(entry.get("name"), str):
        found = f"an unknown field {shown(foreign[0])}" if foreign else f"{_kind(entry.get('name'))} as its name"
        raise VocabularyError(f"{place} has {found}", hint=f"expected {_ENTRY}")
    synonyms = entry.get("synonyms") or ()
    if not isinstance(synonyms, list | tuple) or not all(isinstance(word, str) for word in synonyms):
        raise VocabularyError(f"{place}: its synonyms are no list of texts", hint=f"expected {_ENTRY}")
    return WantedCategory(_plain(entry["name"]), tuple(map(_plain, synonyms)), _color(entry.get("color"), place))


def _color(value: object, place: str) -> tuple[int, int, int] | None:
    if value is None:
        return None
    if isinstance(value, str) and (found := rgb_of(value)) is not None:
        return found
    if isinstance(value, list | tuple) and len(value) == 3:
        red, green, blue = value
        if all(type(part) is int and 0 <= part <= 255 for part in value):
            return red, green, blue
    raise VocabularyError(
        f"{place}: {_kind(value)} is no colour", hint='expected "#rrggbb" or three numbers of 0 to 255'
    )


def _plain(text: str) -> str:
    """Without what a subclass of ``str`` (NumPy's, an ``Enum``'s) brings along."""
    return str.__str__(text)


def _kind(value: object) -> str:
    if value is None:
        return "nothing (null)"
    if isinstance(value, str | int | float | list | tuple):
        with suppress(ValueError):  # Python writes no number of more than 4300 digits
            return f"{type(value).__name__} {shown(repr(value))[1:-1]}"
    return type(value).__name__
