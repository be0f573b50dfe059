"""The categories a user asks for: read from text, files or Python values, checked, and handed on exactly.

The grammar is on the page ``docs/words-and-checkpoints.md``.
"""

from __future__ import annotations

from ifseg_rt.categories.files import parse_categories, read_categories, write_categories
from ifseg_rt.categories.values import categories_of, records
from ifseg_rt.categories.wanted import WantedCategory, are_those_of

__all__ = [
    "WantedCategory",
    "are_those_of",
    "categories_of",
    "parse_categories",
    "read_categories",
    "records",
    "write_categories",
]
