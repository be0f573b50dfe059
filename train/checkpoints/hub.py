"""Files of Hugging Face hub repositories: from the local cache, else downloaded, with what to do when out of reach."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ifseg_rt.errors import CheckpointError

BART_TOKENIZER = "facebook/bart-base"
TOKENIZER_FILES = ("vocab.json", "merges.txt")
MODEL_FILES = ("config.json", "pytorch_model.bin")
_HUB_ID = re.compile(r"^[\w.-]+/[\w.-]+$")
_LOCAL_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".onnx")


def is_hub_id(text: str) -> bool:
    """Whether a text that names no file has the form ``owner/name``; ``folder/ckpt.pt`` is a mistyped path instead."""
    return bool(_HUB_ID.match(text)) and not text.startswith(".") and not text.endswith(_LOCAL_SUFFIXES)


def download(hub_id: str, files: Sequence[str], *, optional: Sequence[str] = ()) -> Path:
    """Folder with the files of a hub repository.

    Args:
        hub_id: ``owner/name``.
        files: files that it must have.
        optional: files that are fetched too where the repository has them.

    Raises:
        CheckpointError: the hub cannot be reached, or lacks the repository or one of ``files``.
    """
    from huggingface_hub.errors import EntryNotFoundError

    try:
        paths = [_fetch(hub_id, name) for name in files]
    except Exception as error:  # the library raises httpx, OSError, ValueError and types of its own alike
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"cannot download {hub_id} from the hub: {reason}",
            hint="download the folder elsewhere and pass its path (for a tokenizer: --tokenizer FOLDER)",
        ) from error
    for name in optional:
        try:
            _fetch(hub_id, name)
        except EntryNotFoundError:
            break
        except Exception as error:
            raise CheckpointError(f"cannot download {name} of {hub_id} from the hub: {error}") from error
    return paths[0].parent


def _fetch(hub_id: str, name: str) -> Path:
    """A cached file at once, without asking the hub for news: the same name keeps giving the same weights."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(hub_id, name, local_files_only=True))
    except LocalEntryNotFoundError:
        return Path(hf_hub_download(hub_id, name))
