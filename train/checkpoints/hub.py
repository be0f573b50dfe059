"""Files of Hugging Face hub repositories: from the local cache, else downloaded, with what to do when out of reach."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

from ifseg_rt.errors import CheckpointError
from train.checkpoints.weights_folder import CONFIG_FILE, INDEX_FILES, SINGLE_FILES, shard_names

BART_TOKENIZER = "facebook/bart-base"
TOKENIZER_FILES = ("vocab.json", "merges.txt")
_HUB_ID = re.compile(r"[\w-][\w.-]{0,95}/[\w.-]{1,96}")
_LOCAL_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".onnx", ".safetensors", ".json", ".resume", ".zip", ".tar", ".gz")
# The library's own retries take up to a minute, a line each; this is for the one question whether it answers at all.
_ANSWER_WITHIN_S = 8.0


def is_hub_id(text: str) -> bool:
    """Whether a text that names no file has the form ``owner/name``.

    ``folder/ckpt.pt`` is a mistyped path instead, and so is ``folder/model`` where there is such a folder.
    """
    if not _HUB_ID.fullmatch(text) or text.lower().endswith(_LOCAL_SUFFIXES) or text.endswith("/.."):
        return False
    return not Path(text).parent.is_dir()


def download_model(hub_id: str) -> Path:
    """Folder with settings, tokenizer and weights of a model, in this order: the large files last.

    Raises:
        CheckpointError: the hub cannot be reached, or has no such model.
    """
    from huggingface_hub.errors import EntryNotFoundError

    with _in_one_line(hub_id, f"no such file or folder here: {hub_id}; "):
        folder = _fetch(hub_id, CONFIG_FILE).parent
        whole = _weights(hub_id, _cached)
        try:
            for name in TOKENIZER_FILES:
                _fetch(hub_id, name)
        except EntryNotFoundError:
            pass
        except Exception:
            if not whole:
                raise
        if not whole:
            _weights(hub_id, _fetch)
    return folder  # if without weights, whoever opens it says so


def _weights(hub_id: str, get: Callable[[str, str], Path]) -> bool:
    """Gets the weights in the first form that there is; whether there is one."""
    from huggingface_hub.errors import EntryNotFoundError

    for single, index in zip(SINGLE_FILES, INDEX_FILES, strict=True):
        with suppress(EntryNotFoundError):
            get(hub_id, single)
            return True
        with suppress(EntryNotFoundError):
            for part in shard_names(get(hub_id, index)):
                get(hub_id, part)
            return True
    return False


def download(hub_id: str, files: Sequence[str]) -> Path:
    """Folder with these files of a hub repository.

    Raises:
        CheckpointError: the hub cannot be reached, or lacks the repository or one of ``files``.
    """
    with _in_one_line(hub_id, ""):
        paths = [_fetch(hub_id, name) for name in files]
    return paths[0].parent


@contextmanager
def _in_one_line(hub_id: str, before: str) -> Iterator[None]:
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:  # the library raises httpx, OSError, ValueError and types of its own alike
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{before}cannot download {hub_id} from the hub: {reason[:300]}",
            hint="check the path, or download the folder elsewhere and pass its path (a tokenizer: --tokenizer FOLDER)",
        ) from error


def _cached(hub_id: str, name: str) -> Path:
    """A file in the cache; raises the library's ``LocalEntryNotFoundError`` where it is not."""
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(hub_id, name, local_files_only=True))


def _fetch(hub_id: str, name: str) -> Path:
    """A cached file at once, without asking the hub for news: the same name keeps giving the same weights."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return _cached(hub_id, name)
    except LocalEntryNotFoundError:
        _ask(hub_id, name)
        return Path(hf_hub_download(hub_id, name))


def _ask(hub_id: str, name: str) -> None:
    """Whether the hub answers and has the file, without retries.

    Raises:
        TimeoutError: no answer in time; looking up the hub's address alone can take a minute.
        EntryNotFoundError: it answers that it has no such file.
        Exception: whatever else the library raises.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    failures: list[Exception] = []

    def ask() -> None:
        try:
            get_hf_file_metadata(hf_hub_url(hub_id, name), timeout=_ANSWER_WITHIN_S)
        except Exception as error:
            failures.append(error)

    asking = Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_ANSWER_WITHIN_S)
    if asking.is_alive():
        raise TimeoutError(f"no answer within {_ANSWER_WITHIN_S:g} s")
    if failures:
        raise failures[0]
