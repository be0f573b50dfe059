"""From text to token ids: OFA's byte-level BPE, and the whole-word table of ``micro`` (spec 1)."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ifseg_rt.errors import VocabularyError

if TYPE_CHECKING:
    from tokenizers import Tokenizer as LibraryTokenizer

_FIRST_DICTIONARY_ID = 4
_FAIRSEQ_FILES = ("encoder.json", "vocab.bpe", "dict.txt")
_HUB_FILES = ("vocab.json", "merges.txt")
# Ids every OFA vocabulary gives these words (spec 1); another language's vocabulary does not.
_PROBE = {"what": 99, "unknown": 4727}


def normalise(text: str) -> str:
    """Lower case, hyphens and underscores as spaces, single spaces."""
    return " ".join(text.lower().replace("_", " ").replace("-", " ").split())


class Tokenizer(Protocol):
    """Turns one name or prompt into token ids of the embedding table."""

    kind: str
    identity: str

    def encode(self, text: str) -> list[int]:
        """Token ids of a text; raises VocabularyError where it has none."""


class BpeTokenizer:
    """GPT-2 byte-level BPE, every word encoded with one leading space, ids of OFA's dictionary."""

    kind = "bpe"

    def __init__(self, library: LibraryTokenizer, dictionary: Mapping[int, int] | None, identity: str) -> None:
        self._library = library
        self._dictionary = dictionary
        self.identity = identity

    @staticmethod
    def is_in(folder: Path) -> bool:
        """Whether a folder has the files of either layout."""
        return _holds(folder, _HUB_FILES) or _holds(folder, _FAIRSEQ_FILES)

    @classmethod
    def from_folder(cls, folder: Path) -> BpeTokenizer:
        """Reads ``vocab.json`` + ``merges.txt`` (Hugging Face: ids as they are) or ``encoder.json`` + ``vocab.bpe`` +
        ``dict.txt`` (fairseq: GPT-2 numbers, translated through the dictionary).

        Raises:
            VocabularyError: files are missing, damaged, or not OFA's English vocabulary.
        """
        if not cls.is_in(folder):
            raise VocabularyError(
                f"no tokenizer files in {folder}: expected {' + '.join(_HUB_FILES)} or {' + '.join(_FAIRSEQ_FILES)}",
                hint="pass --tokenizer with a folder that has them (a Hugging Face OFA folder, or facebook/bart-base)",
            )
        hub = _holds(folder, _HUB_FILES)
        names = _HUB_FILES if hub else _FAIRSEQ_FILES
        identity = hashlib.sha256(b"".join((folder / name).read_bytes() for name in names)).hexdigest()
        try:
            library = _byte_level_bpe(folder / names[0], folder / names[1])
            dictionary = None if hub else _read_dictionary(folder / names[-1])
        except Exception as error:  # the library raises plain Exception, e.g. for a merge of unknown tokens
            raise VocabularyError(
                f"the tokenizer files in {folder} are damaged: {str(error).splitlines()[0]}"
            ) from error
        tokenizer = cls(library, dictionary, identity)
        for word, expected in _PROBE.items():
            if tokenizer.encode(word) != [expected]:
                raise VocabularyError(
                    f"the tokenizer in {folder} is not OFA's English vocabulary: {word!r} gives "
                    f"{tokenizer.encode(word)}, expected [{expected}]",
                    hint="use the vocabulary of an English OFA model or of facebook/bart-base",
                )
        return tokenizer

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for word in text.split():
            for number in self._library.encode(" " + word).ids:
                if self._dictionary is None:
                    ids.append(number)
                elif number in self._dictionary:
                    ids.append(self._dictionary[number])
                else:
                    raise VocabularyError(f"{text!r} holds a sub-word that the dictionary lacks (number {number})")
        return ids


def _holds(folder: Path, names: Iterable[str]) -> bool:
    return all((folder / name).is_file() for name in names)


def _byte_level_bpe(vocabulary: Path, merges: Path) -> LibraryTokenizer:
    from tokenizers import Tokenizer as Library
    from tokenizers import models, pre_tokenizers

    words: dict[str, int] = json.loads(vocabulary.read_text(encoding="utf-8"))
    lines = merges.read_text(encoding="utf-8").splitlines()
    pairs = [(a, b) for a, _, b in (line.partition(" ") for line in lines if line and not line.startswith("#version"))]
    library = Library(models.BPE(vocab=words, merges=pairs, unk_token="<unk>" if "<unk>" in words else None))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    return library


def _read_dictionary(path: Path) -> dict[int, int]:
    """GPT-2 number -> fairseq id; the few lines that are no number (``madeupword...``) name no text."""
    table: dict[int, int] = {}
    for line, entry in enumerate(path.read_text(encoding="utf-8").splitlines()):
        symbol = entry.split(" ")[0]
        if symbol.isdigit():
            table[int(symbol)] = _FIRST_DICTIONARY_ID + line
    return table


class WordTokenizer:
    """One token per known name, however many words it has; other spellings are aliases of known names."""

    kind = "words"
    unknown_id = 3

    def __init__(self, words: Mapping[str, int], aliases: Mapping[str, str]) -> None:
        self.words = dict(words)
        self.aliases = dict(aliases)
        stored = json.dumps([self.words, self.aliases], sort_keys=True).encode()
        self.identity = hashlib.sha256(stored).hexdigest()

    def to_entry(self) -> dict[str, Any]:
        """The ``tokenizer`` entry of a checkpoint."""
        return {"kind": self.kind, "identity": self.identity, "words": dict(self.words), "aliases": dict(self.aliases)}

    @property
    def known(self) -> Iterable[str]:
        """Every spelling that has a token."""
        return (*self.words, *self.aliases)

    def encode(self, text: str) -> list[int]:
        name = normalise(text)
        name = self.aliases.get(name, name)
        if name in self.words:
            return [self.words[name]]
        near = difflib.get_close_matches(name, list(self.known), n=3, cutoff=0.0)
        raise VocabularyError(
            f"the model does not know the word {text!r}; nearest known: {', '.join(near)}",
            hint=f"choose from its {len(self.words)} words, or adapt an OFA model, which reads any text",
        )
