"""Markdown tables, the form in which every measurement is shown and pasted into the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table whose first column is left-aligned and whose other columns are right-aligned."""
    lines = [_line(header), _line([":--", *["--:"] * (len(header) - 1)])]
    lines += [_line([_text(cell) for cell in row]) for row in rows]
    return "\n".join(lines) + "\n"


def percent(fraction: float | None) -> str:
    """Return a fraction as per cent with one decimal; a dash for what has no value."""
    return "-" if fraction is None else f"{100 * fraction:.1f}"


def milliseconds(value: float | None) -> str:
    """Return milliseconds with a precision that fits their size; a dash for what has no value."""
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _text(cell: object) -> str:
    return str(cell).replace("|", "\\|")
