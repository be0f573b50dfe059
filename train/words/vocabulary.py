"""The categories a model is adapted to: names, synonyms and colours, checked once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ifseg_rt.categories import WantedCategory as Category
from ifseg_rt.categories import categories_of, parse_categories, read_categories, records
from ifseg_rt.errors import CheckpointError, UsageError, VocabularyError

__all__ = ["Category", "Vocabulary"]


@dataclass(frozen=True)
class Vocabulary:
    """Categories in label order; the index of a category is its label. None at all: a base without categories.

    Raises:
        UsageError: they are no sequence.
        VocabularyError: an entry is no category, a text cannot be a name, or two words are the same but for case,
            hyphens, underscores or the way in which Unicode composes them.
    """

    categories: tuple[Category, ...]

    def __post_init__(self) -> None:
        if self.categories:
            categories_of(self.categories, "categories")

    @classmethod
    def parse(cls, text: str) -> Vocabulary:
        """Reads the value of ``--categories``: ``"sky, traffic light, road #804080"``, or a JSON list.

        Raises:
            UsageError: it begins with a bracket, and is no list or map of names.
            VocabularyError: a name is empty, impossible, doubtful or given twice.
        """
        return cls(parse_categories(text))

    @classmethod
    def from_file(cls, path: Path) -> Vocabulary:
        """Reads a category file: lines ``name, synonym, synonym #rrggbb``, JSON, YAML or CSV.

        Raises:
            UsageError: the file cannot be read, or is of none of these forms.
            VocabularyError: it is empty, or a name is empty, impossible, doubtful or given twice.
        """
        return cls(read_categories(path))

    @classmethod
    def of(cls, categories: object) -> Vocabulary:
        """Whatever names categories in Python.

        Args:
            categories: a vocabulary; a text of comma-separated names, which is never taken for a file; a
                ``pathlib.Path`` of a category file; a list or tuple of names, each exactly as it stands, or of
                :class:`Category`; a map ``{0: "sky", 1: "road"}``.

        Raises:
            UsageError: something else, such as a set, which has no order; or a file that cannot be read.
            VocabularyError: a name is empty, impossible, doubtful or given twice.
        """
        if isinstance(categories, Vocabulary):
            return categories
        if isinstance(categories, str):
            return cls(parse_categories(categories, "categories"))
        if isinstance(categories, os.PathLike):
            return cls.from_file(Path(categories))
        return cls(categories_of(categories, "categories"))

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
        return records(self.categories)

    @classmethod
    def from_list(cls, values: Sequence[dict[str, Any]]) -> Vocabulary:
        """Inverse of :meth:`to_list`.

        Raises:
            CheckpointError: an entry is not what :meth:`to_list` writes.
        """
        for number, value in enumerate(values, start=1):
            if not isinstance(value, dict) or set(value) != {"name", "synonyms", "color"}:
                raise CheckpointError(f"category {number} of the checkpoint is damaged", hint="adapt again")
        try:
            return cls(categories_of(values, "the checkpoint") if values else ())
        except (UsageError, VocabularyError) as error:
            raise CheckpointError(str(error), hint="adapt again") from error
