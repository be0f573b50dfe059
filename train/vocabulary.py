"""The categories a model is adapted to: names, synonyms and colours, checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ifseg_rt.categories import WantedCategory as Category
from ifseg_rt.categories import parse_categories, read_categories
from ifseg_rt.errors import VocabularyError

__all__ = ["Category", "Vocabulary"]


@dataclass(frozen=True)
class Vocabulary:
    """Categories in label order; the index of a category is its label."""

    categories: tuple[Category, ...]

    @classmethod
    def parse(cls, text: str) -> Vocabulary:
        """Reads ``"sky, road, traffic light"``.

        Raises:
            VocabularyError: a name is empty or given twice.
        """
        return cls(parse_categories(text))

    @classmethod
    def from_file(cls, path: Path) -> Vocabulary:
        """Reads a category file: one per line, ``name, synonym, synonym #rrggbb``.

        Raises:
            UsageError: the file cannot be read.
            VocabularyError: it is empty, or a name is empty or given twice.
        """
        return cls(read_categories(path))

    @classmethod
    def of(cls, categories: Vocabulary | str | Path | Sequence[str]) -> Vocabulary:
        """Whatever names categories: a vocabulary, a comma-separated text, a file, or a list of names."""
        if isinstance(categories, Vocabulary):
            return categories
        if isinstance(categories, Path) or (isinstance(categories, str) and Path(categories).is_file()):
            return cls.from_file(Path(categories))
        if isinstance(categories, str):
            return cls.parse(categories)
        if any("," in name for name in categories):
            raise VocabularyError("a category name may not hold a comma", hint="give synonyms in a category file")
        return cls.parse(",".join(categories))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(category.name for category in self.categories)

    def to_list(self) -> list[dict[str, Any]]:
        """Plain values for a checkpoint."""
        return [
            {"name": c.name, "synonyms": list(c.synonyms), "color": list(c.color) if c.color else None}
            for c in self.categories
        ]

    @classmethod
    def from_list(cls, values: Sequence[dict[str, Any]]) -> Vocabulary:
        """Inverse of :meth:`to_list`."""
        categories = []
        for value in values:
            color = value.get("color")
            rgb = (int(color[0]), int(color[1]), int(color[2])) if color else None
            categories.append(Category(str(value["name"]), tuple(value.get("synonyms", ())), rgb))
        return cls(tuple(categories))
