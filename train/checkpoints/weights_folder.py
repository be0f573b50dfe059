"""The files of a Hugging Face folder: which of them hold the weights, in one piece or in several."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ifseg_rt.errors import CheckpointError

CONFIG_FILE = "config.json"
# In order of preference: safetensors carry no code and are checked as a whole.
SINGLE_FILES = ("model.safetensors", "pytorch_model.bin")
INDEX_FILES = tuple(f"{name}.index.json" for name in SINGLE_FILES)
_MOST_JSON_BYTES = 16 << 20
_DOWNLOAD_AGAIN = "download the folder again"


@dataclass(frozen=True)
class WeightFiles:
    """Where the weights of one model are.

    Attributes:
        files: one, or the parts of a large model.
        index: which tensor is in which part; ``None`` where there is one file.
        settings: ``config.json``; ``None`` where a file stands alone.
    """

    files: tuple[Path, ...]
    index: Path | None = None
    settings: Path | None = None


def weight_files(folder: Path) -> WeightFiles:
    """The files that hold the weights of a folder.

    Raises:
        CheckpointError: no model folder; or its index is damaged, names files outside of it, or files that are missing.
    """
    settings = folder / CONFIG_FILE
    lacks_config = not settings.is_file()
    for single, index in zip(SINGLE_FILES, INDEX_FILES, strict=True):
        if (folder / single).is_file() and not lacks_config:
            return WeightFiles((folder / single,), None, settings)
        if (folder / index).is_file() and not lacks_config:
            parts = shard_names(folder / index, must_exist=True)
            return WeightFiles(tuple(folder / name for name in parts), folder / index, settings)
    has_weights = any((folder / name).is_file() for name in (*SINGLE_FILES, *INDEX_FILES))
    missing = ([CONFIG_FILE] if lacks_config else []) + ([] if has_weights else [" or ".join(reversed(SINGLE_FILES))])
    raise CheckpointError(
        f"the folder {folder} is not a Hugging Face OFA folder: it has no {' and no '.join(missing)}",
        hint="give the folder that holds both, or a checkpoint file",
    )


def shard_names(index: Path, *, must_exist: bool = False) -> list[str]:
    """The names of the files that an index distributes the tensors over.

    Raises:
        CheckpointError: it is damaged, names a file outside of its folder, or (where asked) one that is missing.
    """
    names = sorted(set(weight_map(index).values()))
    for name in names:
        if name in ("", ".", "..") or any(character in name for character in "/\\:\0"):
            raise CheckpointError(
                f"{index} names a file outside of its folder: {name[:100]!r}",
                hint="do not use it: it was tampered with",
            )
        if must_exist and not (index.parent / name).is_file():
            raise CheckpointError(
                f"{index.parent} has no {name[:100]!r}, which {index.name} names", hint=_DOWNLOAD_AGAIN
            )
    return names


def weight_map(index: Path) -> dict[str, str]:
    """Tensor -> file, as an index says.

    Raises:
        CheckpointError: it is damaged.
    """
    found = read_json(index).get("weight_map")
    if not isinstance(found, dict) or not found or not all(isinstance(name, str) for name in found.values()):
        raise CheckpointError(f"{index} has no weight_map of tensors and files", hint=_DOWNLOAD_AGAIN)
    return found


def join(parts: Mapping[Path, Mapping[str, object]], index: Path | None) -> dict[str, object]:
    """The tensors of all files of a model, each where the index says.

    Raises:
        CheckpointError: a tensor is in two files, or not in the one that the index names.
    """
    joined: dict[str, object] = {}
    for path, tensors in parts.items():
        for name, tensor in tensors.items():
            if name in joined:
                raise CheckpointError(f"{path} holds {name[:100]!r} a second time", hint=_DOWNLOAD_AGAIN)
            joined[name] = tensor
    for name, file in (weight_map(index) if index is not None else {}).items():
        if name not in parts[index.with_name(file)]:  # type: ignore[union-attr]
            raise CheckpointError(
                f"{file[:100]!r} lacks {name[:100]!r}, which {index} puts there", hint=_DOWNLOAD_AGAIN
            )
    return joined


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a downloaded folder, with or without a byte order mark.

    Raises:
        CheckpointError: missing, too large, or no JSON object.
    """
    try:
        if path.stat().st_size > _MOST_JSON_BYTES:
            raise CheckpointError(f"{path} is too large for a list of settings", hint=_DOWNLOAD_AGAIN)
        found: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not readable as JSON", hint=_DOWNLOAD_AGAIN) from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} holds no settings", hint=_DOWNLOAD_AGAIN)
    return found
