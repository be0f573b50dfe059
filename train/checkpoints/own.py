"""Our own checkpoint: one file that carries everything to rebuild the model, readable without unpickling code."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ifseg_rt.errors import CheckpointError
from train.checkpoints.safe_pickle import load_untrusted
from train.models.ofa.config import ModelConfig
from train.words.tokenizer import WordTokenizer
from train.words.vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor

    from train.words.prompt import CategoryIds

FORMAT = "ifseg-rt-checkpoint"
VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """Contents of ``ckpt.pt``.

    Attributes:
        config: architecture.
        state: the model's state dict.
        vocabulary: categories; empty for a base that has not been given any.
        prompt_ids: token ids of the prompt, empty likewise.
        category_ids: token ids of every name of every category.
        tokenizer: ``{"kind", "identity"}``, and for whole-word models ``"words"`` and ``"aliases"``.
        provenance: base, its hash, seed, steps, final loss, ...: plain values.
    """

    config: ModelConfig
    state: Mapping[str, Tensor]
    vocabulary: Vocabulary = field(default_factory=lambda: Vocabulary(()))
    prompt_ids: list[int] = field(default_factory=list)
    category_ids: CategoryIds = field(default_factory=list)
    tokenizer: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def word_tokenizer(self) -> WordTokenizer | None:
        """The tokenizer a whole-word model carries; ``None`` for sub-word models, whose files stay outside."""
        if self.tokenizer.get("kind") != "words":
            return None
        return WordTokenizer(self.tokenizer["words"], self.tokenizer["aliases"])


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads a file that :func:`save_checkpoint` wrote.

    Raises:
        CheckpointError: missing, unsafe, damaged, of another version, or not our own format.
    """
    document = load_untrusted(path)
    if not is_own_document(document):
        raise CheckpointError(
            f"{path} is not a checkpoint of ours", hint="adapt it with python -m train.adapt, which reads other layouts"
        )
    return parse_checkpoint(document, str(path))


def save_checkpoint(checkpoint: Checkpoint, path: Path, *, half: bool = False) -> None:
    """Writes ``path`` atomically: a reader sees the old file or the whole new one.

    Args:
        checkpoint: what to write.
        path: where.
        half: store floating-point tensors in float16 (exact only for weights that already are).
    """
    state = {
        name: (tensor.detach().cpu().half() if half and tensor.is_floating_point() else tensor.detach().cpu()).clone()
        for name, tensor in checkpoint.state.items()
    }
    document = {
        "format": FORMAT,
        "version": VERSION,
        "config": checkpoint.config.to_dict(),
        "vocabulary": checkpoint.vocabulary.to_list(),
        "prompt_prefix": checkpoint.config.prompt_prefix,
        "prompt_ids": list(checkpoint.prompt_ids),
        "category_ids": checkpoint.category_ids,
        "tokenizer": checkpoint.tokenizer,
        "provenance": checkpoint.provenance,
        "model": state,
    }
    write_atomically(document, path)


def write_atomically(document: Any, path: Path) -> None:  # noqa: ANN401 - whatever torch.save takes
    """``torch.save`` to a temporary file beside ``path``, then rename over it."""
    import torch

    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            torch.save(document, file)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def is_own_document(document: object) -> bool:
    """Whether an unpickled file is our own format."""
    return isinstance(document, dict) and document.get("format") == FORMAT


def parse_checkpoint(document: dict[str, Any], origin: str) -> Checkpoint:
    """Checks the fields of our own format.

    Raises:
        CheckpointError: a newer version, or fields missing or of the wrong kind.
    """
    if document.get("version") != VERSION:
        raise CheckpointError(
            f"{origin} is a checkpoint of version {document.get('version')!r}, this program reads version {VERSION}",
            hint="update ifseg-rt, or adapt again",
        )
    kinds = {
        "config": dict, "vocabulary": list, "prompt_ids": list, "category_ids": list,
        "tokenizer": dict, "provenance": dict, "model": dict,
    }  # fmt: skip
    wrong = [key for key, kind in kinds.items() if not isinstance(document.get(key), kind)]
    if not wrong:
        config = ModelConfig.from_dict(document["config"])
        wrong = _wrong_entries(document, config)
    if wrong:
        raise CheckpointError(f"{origin} is damaged: missing or wrong {', '.join(wrong)}", hint="adapt again")
    return Checkpoint(
        config=config,
        state={name: t.float() if t.is_floating_point() else t for name, t in document["model"].items()},
        vocabulary=Vocabulary.from_list(document["vocabulary"]),
        prompt_ids=document["prompt_ids"],
        category_ids=document["category_ids"],
        tokenizer=document["tokenizer"],
        provenance=document["provenance"],
    )


def _wrong_entries(document: dict[str, Any], config: ModelConfig) -> list[str]:
    """Entries whose contents do not fit each other: a later step would fail, or succeed, for no clear reason."""
    from torch import Tensor

    def are_ids(values: object) -> bool:
        return isinstance(values, list) and all(type(i) is int and 0 <= i < config.vocab_size for i in values)

    wrong = []
    prompt_ids, category_ids, tokenizer = (document[key] for key in ("prompt_ids", "category_ids", "tokenizer"))
    if not are_ids(prompt_ids) or bool(prompt_ids) != bool(document["vocabulary"]):
        wrong.append("prompt_ids")
    if len(category_ids) != len(document["vocabulary"]) or not all(
        isinstance(names, list) and names and all(ids and are_ids(ids) for ids in names) for names in category_ids
    ):
        wrong.append("category_ids")
    carries_words = all(isinstance(tokenizer.get(key), dict) for key in ("words", "aliases"))
    if tokenizer.get("kind", config.tokenizer) != config.tokenizer or (
        config.tokenizer == "words" and not (carries_words and are_ids(list(tokenizer["words"].values())))
    ):
        wrong.append("tokenizer")
    if not all(isinstance(tensor, Tensor) for tensor in document["model"].values()):
        wrong.append("model")
    return wrong
