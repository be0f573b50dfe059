"""Our own checkpoint: one file that carries everything to rebuild the model, readable without unpickling code."""

from __future__ import annotations

import os
import reprlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from ifseg_rt.errors import CheckpointError
from train.checkpoints.checksum import checksum, not_plain
from train.checkpoints.ofa_layout import check_weight
from train.checkpoints.safe_pickle import load_untrusted
from train.checkpoints.sound_tensors import plain_state
from train.models.ofa.config import ModelConfig
from train.words.tokenizer import WordTokenizer
from train.words.vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor

    from train.words.prompt import CategoryIds

FORMAT = "ifseg-rt-checkpoint"
VERSION = 2
# Version 1 has no checksum of its own; those of the zip file around it are verified for every version.
_FIRST_WITH_CHECKSUM = 2
_AGAIN = "copy it again from where it came, or adapt again"


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

    Raises:
        CheckpointError: weights are not finite; nothing is written.
        OSError: the file system refuses; likewise.
    """
    state = {
        name: (tensor.detach().cpu().half() if half and tensor.is_floating_point() else tensor.detach().cpu()).clone()
        for name, tensor in checkpoint.state.items()
    }
    require_finite(state, path)
    record = {
        "format": FORMAT,
        "version": VERSION,
        "config": checkpoint.config.to_dict(),
        "vocabulary": checkpoint.vocabulary.to_list(),
        "prompt_prefix": checkpoint.config.prompt_prefix,
        "prompt_ids": list(checkpoint.prompt_ids),
        "category_ids": checkpoint.category_ids,
        "tokenizer": checkpoint.tokenizer,
        "provenance": checkpoint.provenance,
    }
    write_atomically({**record, "checksum": checksum(record, state), "model": state}, path)


def require_finite(state: Mapping[str, Tensor], path: Path) -> None:
    """Refuses to write weights with which nothing can be computed.

    Raises:
        CheckpointError: a tensor holds infinities or worse.
    """
    for name, tensor in state.items():
        if not bool(tensor.isfinite().all()):
            raise CheckpointError(
                f"the weights are not finite ({name}), so {path} is not written",
                hint="lower --lr, or check the base checkpoint",
            )


def write_atomically(document: Any, path: Path) -> None:  # noqa: ANN401 - whatever torch.save takes
    """``torch.save`` to a temporary file beside ``path``, then rename over it."""
    import torch

    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            torch.save(document, file)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    """What new files of this process may not be; there is no way to ask without setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def is_own_document(document: object) -> TypeGuard[dict[str, Any]]:
    """Whether an unpickled file is our own format."""
    return isinstance(document, dict) and document.get("format") == FORMAT


def parse_checkpoint(document: dict[str, Any], origin: str) -> Checkpoint:
    """Checks the fields of our own format.

    Raises:
        CheckpointError: a newer version, fields missing or of the wrong kind, or a checksum that is not theirs.
    """
    version = document.get("version")
    if type(version) is not int or not 1 <= version <= VERSION:
        raise CheckpointError(
            f"{origin} is a checkpoint of version {reprlib.repr(version)}, this program reads versions 1 to {VERSION}",
            hint="update ifseg-rt, or adapt again",
        )
    record = {key: value for key, value in document.items() if key not in ("model", "checksum")}
    problem = not_plain(record)
    if problem is not None:
        raise _damaged(origin, problem)
    kinds = {
        "config": dict, "vocabulary": list, "prompt_ids": list, "category_ids": list,
        "tokenizer": dict, "provenance": dict, "model": dict,
    }  # fmt: skip
    wrong = [key for key, kind in kinds.items() if not isinstance(document.get(key), kind)]
    if wrong:
        raise _damaged(origin, f"missing or wrong {', '.join(wrong)}")
    state = plain_state(document["model"], origin)
    try:
        config = ModelConfig.from_dict(document["config"])
    except CheckpointError as error:
        raise CheckpointError(f"{origin} is damaged: {error}", hint=error.hint or _AGAIN) from error
    wrong = _wrong_entries(document, config)
    if wrong:
        raise _damaged(origin, f"missing or wrong {', '.join(wrong)}")
    vocabulary = Vocabulary.from_list(document["vocabulary"])
    has_checksum = version >= _FIRST_WITH_CHECKSUM or "checksum" in document
    if has_checksum and document.get("checksum") != checksum(record, state):
        raise _damaged(origin, "its contents differ from its checksum")
    check_weight(config, state, origin)
    return Checkpoint(
        config=config,
        state={name: t.float() if t.is_floating_point() else t for name, t in state.items()},
        vocabulary=vocabulary,
        prompt_ids=document["prompt_ids"],
        category_ids=document["category_ids"],
        tokenizer=document["tokenizer"],
        provenance=document["provenance"],
    )


def _damaged(origin: str, found: str) -> CheckpointError:
    return CheckpointError(f"{origin} is damaged: {found}", hint=_AGAIN)


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
    carries_words = carries_words and all(isinstance(word, str) for word in tokenizer["aliases"].values())
    if tokenizer.get("kind", config.tokenizer) != config.tokenizer or (
        config.tokenizer == "words" and not (carries_words and are_ids(list(tokenizer["words"].values())))
    ):
        wrong.append("tokenizer")
    if not all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in document["model"].items()):
        wrong.append("model")
    return wrong
