"""Categories in text of any form that we know: told by the content, with the file's suffix as a hint."""

from __future__ import annotations

import codecs
import csv
import json
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ifseg_rt.categories.lines import read_lines, read_text
from ifseg_rt.categories.values import categories_of, records
from ifseg_rt.categories.wanted import FORMS, WantedCategory, shown
from ifseg_rt.errors import UsageError

_LARGEST_FILE = 1 << 20  # bytes; 171 names with synonyms are 3 kB
_YAML = (".yaml", ".yml")
_YAML_LINE = re.compile(r"-(?:\s|$)|---|%YAML|[\w\"']+\s*:(?:\s|$)")
_COLUMNS = {"id", "name", "synonyms", "color", "r", "g", "b"}


def parse_categories(text: str, origin: str = "--categories") -> tuple[WantedCategory, ...]:
    """Read ``"sky, traffic light, road #804080"``, or a JSON or YAML list or map in brackets.

    Args:
        text: of the command line, or a Python string.
        origin: where it comes from, for messages.

    Raises:
        UsageError: it begins with a bracket, and is no list or map of names.
        VocabularyError: an entry cannot be a name or is given twice, or the whole looks like another notation.
    """
    if text.strip()[:1] in ("[", "{"):
        return categories_of(_structure(text, origin, ""), origin)
    return read_text(text, origin)


def read_categories(path: Path) -> tuple[WantedCategory, ...]:
    """Read a category file: lines ``name, synonym #rrggbb``, a JSON or YAML list or map, or CSV with a header.

    Raises:
        UsageError: the file cannot be read, is not UTF-8, or is of none of these forms.
        VocabularyError: it is empty, or an entry cannot be a name or is given twice.
    """
    text, suffix = _text(path), path.suffix.lower()
    origin = str(path) if str(path).isprintable() else ascii(str(path))
    lines = [line for line in re.split(r"\r\n|\r|\n", text) if line.strip()]
    first = next((line.strip() for line in lines if not line.lstrip().startswith("#")), "")
    if first[:1] in ("[", "{") or suffix in (".json", *_YAML) or _YAML_LINE.match(first):
        return categories_of(_structure(text, origin, suffix), origin)
    columns = [cell.strip().lower() for cell in re.split("[,;\t]", first)]
    if suffix in (".csv", ".tsv") or ("name" in columns and len(columns) > 1 and set(columns) <= _COLUMNS):
        return categories_of(_table(lines, origin), origin)
    return read_lines(text, origin)


def write_categories(path: Path, categories: Sequence[WantedCategory]) -> None:
    """Write categories in the form that :func:`read_categories` returns exactly: JSON."""
    path.write_text(json.dumps(records(categories), indent=1) + "\n", encoding="ascii")


def _text(path: Path) -> str:
    try:
        if stat.S_ISFIFO(path.stat().st_mode) and path.parts[:2] != ("/", "dev"):  # /dev/fd/63 is a shell's <(...)
            raise UsageError(f"the category file {path} is a pipe that may never end", hint="give a plain file")
        with path.open("rb") as file:
            raw = file.read(_LARGEST_FILE + 1)
    except (OSError, ValueError) as error:  # ValueError: NUL in the name
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"cannot read the category file {str(path)!a}: {reason}") from error
    if len(raw) > _LARGEST_FILE:
        raise UsageError(f"the category file {path} is larger than a megabyte", hint=FORMS)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        wide = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in raw[:64]
        guess = ", but probably UTF-16" if wide else ""
        raise UsageError(f"the category file {path} is not UTF-8 text{guess}", hint="save it as UTF-8 text")
    return text


def _structure(text: str, origin: str, suffix: str) -> object:
    """A list or map of plain values from JSON or, where it is none, YAML."""
    try:
        if suffix not in _YAML:
            return json.loads(text, object_pairs_hook=_without_doubles)
    except RecursionError:
        raise UsageError(f"{origin} is nested too deeply", hint=FORMS) from None
    except ValueError as error:
        if suffix == ".json":
            raise UsageError(f"{origin} is no valid JSON: {error}", hint=FORMS) from None
    from ifseg_rt.categories.yaml_nodes import yaml_values

    return yaml_values(text, origin)


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key is given twice")
    return fields


def _table(lines: list[str], origin: str) -> list[dict[str, Any]]:
    """Entries of a table with a header, whose columns the error below names."""
    expected = (
        "expected a header with the column name and, where wanted, id, synonyms (a;b), color (#rrggbb) or r, g, b"
    )
    delimiter = next((mark for mark in "\t;," if lines and mark in lines[0]), ",")
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter, strict=True)]
    except csv.Error as error:
        raise UsageError(f"{origin} is no valid CSV: {error}", hint=expected) from None
    header = [cell.lower() for cell in rows[0]] if rows else []
    rgb = [column for column in "rgb" if column in header]
    if "name" not in header or not set(header) <= _COLUMNS or len(set(header)) != len(header) or len(rgb) in (1, 2):
        found = shown(", ".join(rows[0])) if rows else "nothing"
        raise UsageError(f"{origin} begins with {found}, which is no header", hint=expected)
    if rgb and "color" in header:
        raise UsageError(f"{origin} has the column color and r, g, b", hint=expected)
    entries = []
    for number, row in enumerate(rows[1:]):
        cells = dict(zip(header, row, strict=False))
        if len(row) != len(header):
            raise UsageError(
                f"{origin}: row {number + 1} has {len(row)} cells, the header {len(header)}", hint=expected
            )
        if cells.get("id", str(number)) != str(number):
            raise UsageError(
                f"{origin}: row {number + 1} has the id {shown(cells['id'])}, expected {number}", hint=expected
            )
        color: object = cells.get("color") or None
        if rgb:
            color = [int(cells[c]) if cells[c].isdecimal() and len(cells[c]) < 4 else cells[c] for c in "rgb"]
        words = [word.strip() for word in cells.get("synonyms", "").split(";") if word.strip()]
        entries.append({"name": cells["name"], "synonyms": words, "color": color})
    return entries
