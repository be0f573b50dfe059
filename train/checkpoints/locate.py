"""Where the files of a model are, before any of them is loaded."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ifseg_rt.artifact.sidecar import file_sha256
from ifseg_rt.errors import CheckpointError, UsageError
from train.checkpoints import hub
from train.checkpoints.safe_pickle import require_file
from train.checkpoints.safetensors_reader import SUFFIX
from train.checkpoints.weights_folder import CONFIG_FILE, WeightFiles, weight_files
from train.checkpoints.zip_checks import peeked_pickle

MICRO = Path(__file__).parents[1] / "assets" / "micro.pt"
_OWN, _OWN_RESUME = b"ifseg-rt-checkpoint", b"ifseg-rt-resume"
_OFA = (b"encoder.embed_tokens.weight", b"encoder.layers.0.self_attn.c_attn", b"encoder.image_proj.weight")


@dataclass(frozen=True)
class Located:
    """A model's files.

    Attributes:
        path: the file or folder, for messages.
        name: for the record of what a model was made from.
        weights: its files.
    """

    path: Path
    name: str
    weights: WeightFiles

    @property
    def folder(self) -> Path:
        """Where files of a tokenizer may lie beside the weights."""
        return self.weights.files[0].parent

    def sha256(self) -> str:
        """Of the file; of several, of their hashes in order."""
        hashes = [file_sha256(file) for file in self.weights.files]
        return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()

    @property
    def needs_tokenizer(self) -> bool:
        """Whether this is an OFA model for certain, which reads words by files that it does not hold."""
        return self.weights.index is not None or kind_of(self.weights.files[0]) == "ofa"


def locate(source: str | Path) -> Located:
    """Finds ``"micro"``, a checkpoint file, a Hugging Face folder or a hub id, which is downloaded.

    Raises:
        UsageError: an empty text.
        CheckpointError: there is no such file or folder, or it is no model's; the hub cannot be reached.
    """
    if not str(source).strip():
        raise UsageError(
            "no checkpoint is named: the text is empty", hint="give a file, a folder, a hub id, or 'micro'"
        )
    path, text = Path(source), os.fspath(source)
    name = path.name
    if text == "micro" and not os.path.lexists(path):
        path, name = MICRO, text
        if not path.is_file():
            raise CheckpointError("the shipped base model is missing from this installation", hint="reinstall ifseg-rt")
    elif hub.is_hub_id(text) and not os.path.lexists(path):
        path, name = hub.download_model(text), text
    if is_folder(path):
        return Located(path, name or path.resolve().name, weight_files(path))
    require_file(path)
    settings = path.with_name(CONFIG_FILE)
    beside = path.suffix == SUFFIX and settings.is_file()
    return Located(path, name, WeightFiles((path,), None, settings if beside else None))


def is_folder(path: Path) -> bool:
    """Whether this is a folder; not where the name is one that nothing can have."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def kind_of(path: Path) -> Literal["own", "resume", "ofa"] | None:
    """What a file seems to be, from its names alone; ``None``: something else, or unknown until it is loaded."""
    stored = peeked_pickle(path)
    if not stored:
        try:
            with path.open("rb") as file:
                stored = file.read(1 << 20) if path.suffix == SUFFIX else b""
        except OSError:
            return None
    if _OWN_RESUME in stored:
        return "resume"
    if _OWN in stored:
        return "own"
    return "ofa" if all(name in stored for name in _OFA) else None
