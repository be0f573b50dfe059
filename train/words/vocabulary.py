"""The categories a model is adapted to: names, synonyms and colours, checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ifseg_rt.categories import WantedCategory as Category
from ifseg_rt.categories import parse_categories, read_categories
from ifseg_rt.errors import CheckpointError, VocabularyError
from train.words.tokenizer import normalise

__all__ = ["Category", "Vocabulary"]


@dataclass(frozen=True)
class Vocabulary:
    """Categories in label order; the index of a category is its label.

    Raises:
        VocabularyError: two words are the same but for case, hyphens, underscores or spaces.
    """

    categories: tuple[Category, ...]

    def __post_init__(self) -> None:
        seen: dict[str, tuple[str, str]] = {}
        for category in self.categories:
            for word in (category.name, *category.synonyms):
                if normalise(word) in seen:
                    other, owner = seen[normalise(word)]
                    raise VocabularyError(
                        f"{other!r} of category {owner!r} and {word!r} of category {category.name!r} are the same",
                        hint="remove one of the two",
                    )
                seen[normalise(word)] = (word, category.name)

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
        if isinstance(categories, Path):
            return cls.from_file(categories)
        if isinstance(categories, str):
            return cls.from_file(Path(categories)) if _is_file(categories) else cls.parse(categories)
        if not categories:
            raise VocabularyError("the list of categories is empty", hint='give some, e.g. ["sky", "road"]')
        if any("," in name for name in categories):
            raise VocabularyError("a category name may not hold a comma", hint="give synonyms in a category file")
        return cls.parse(",".join(categories))

    @classmethod
    def asked(cls, text: str | None, file: Path | None) -> Vocabulary | None:
        """What a command's ``--categories`` or ``--categories-file`` names; ``None`` for the checkpoint's own."""
        if file is not None:
            return cls.from_file(file)
        return None if text is None else cls.parse(text)

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
        """Inverse of :meth:`to_list`.

        Raises:
            CheckpointError: an entry is not what :meth:`to_list` writes.
        """
        categories = []
        for number, value in enumerate(values, start=1):
            try:
                color = value["color"]
                rgb = (int(color[0]), int(color[1]), int(color[2])) if color else None
                categories.append(Category(str(value["name"]), tuple(str(word) for word in value["synonyms"]), rgb))
            except (KeyError, IndexError, TypeError, ValueError) as error:
                raise CheckpointError(f"category {number} of the checkpoint is damaged", hint="adapt again") from error
        return cls(tuple(categories))


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # a long list of names is no legal path: "File name too long"
        return False
