"""Downloads from the Hugging Face hub, with what to do when it is out of reach."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ifseg_rt.errors import CheckpointError

BART_TOKENIZER = "facebook/bart-base"
TOKENIZER_FILES = ("vocab.json", "merges.txt")
MODEL_FILES = ("config.json", "pytorch_model.bin", *TOKENIZER_FILES)
_HUB_ID = re.compile(r"^[\w.-]+/[\w.-]+$")


def is_hub_id(text: str) -> bool:
    """Whether a text that names no file has the form ``owner/name``."""
    return bool(_HUB_ID.match(text))


def download(hub_id: str, files: Sequence[str]) -> Path:
    """Folder with the files of a hub repository, from the local cache where they are there.

    Raises:
        CheckpointError: the hub cannot be reached, or lacks the repository or one of the files.
    """
    from huggingface_hub import hf_hub_download

    try:
        paths = [Path(hf_hub_download(hub_id, name)) for name in files]
    except Exception as error:  # the library raises httpx, OSError, ValueError and types of its own alike
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"cannot download {hub_id} from the hub: {reason}",
            hint="download the folder elsewhere and pass its path (for a tokenizer: --tokenizer FOLDER)",
        ) from error
    return paths[0].parent
