"""The prompt of a vocabulary, and the token ids of each of its names (spec 2 and 3)."""

from __future__ import annotations

from ifseg_rt.errors import VocabularyError
from train.words.tokenizer import Tokenizer, WordTokenizer
from train.words.vocabulary import Vocabulary

BOS_ID, EOS_ID = 0, 2

CategoryIds = list[list[list[int]]]


def build_prompt(tokenizer: Tokenizer, vocabulary: Vocabulary, prefix: str) -> tuple[list[int], CategoryIds]:
    """Prompt ids ``[bos] + prefix + primary names + "unknown" + [eos]`` and, per category, the ids of every name.

    Raises:
        VocabularyError: a name has no token, or two categories are the same to the tokenizer.
    """
    category_ids: CategoryIds = []
    owner: dict[tuple[int, ...], str] = {}
    for category in vocabulary.categories:
        names = [category.name, *category.synonyms]
        ids = [tokenizer.encode(name) for name in names]
        for name, encoded in zip(names, ids, strict=True):
            if not encoded:
                raise VocabularyError(f"the category {name!r} has no token")
        other = owner.setdefault(tuple(ids[0]), category.name)
        if other != category.name:
            raise VocabularyError(
                f"the categories {other!r} and {category.name!r} are the same word to the model",
                hint="remove one, or make one the synonym of the other in a category file",
            )
        category_ids.append(ids)
    is_words = isinstance(tokenizer, WordTokenizer)
    prefix_ids = tokenizer.encode(prefix) if prefix else []
    unknown = [WordTokenizer.unknown_id] if is_words else tokenizer.encode("unknown")
    primary = [token for names in category_ids for token in names[0]]
    return [BOS_ID, *prefix_ids, *primary, *unknown, EOS_ID], category_ids
