"""Reads a PyTorch file without running any code that it may carry."""

from __future__ import annotations

import argparse
import io
import pickle
import pickletools
import re
import warnings
from pathlib import Path
from typing import Any

from ifseg_rt.errors import CheckpointError
from train.checkpoints.zip_checks import MOST_PICKLE_BYTES, checked_pickle, is_zip

_GLOBAL = re.compile(r"(?:GLOBAL|class|global) ([\w.]+)")
_RESAVE = "such a file can run code; re-save its tensors alone with torch.save(state_dict)"
COPY_AGAIN = "copy or download it again and compare the size"
# torch's own list is longer: of what it adds, bytearray(10**12) or a chain of encode() take memory without end, and
# sparse, quantised and nested tensors are no weights of a network that is read here.
_ALLOWED = re.compile(
    r"collections OrderedDict|argparse Namespace|(__builtin__|builtins) set"
    r"|torch\._utils (_rebuild_tensor_v2|_rebuild_tensor|_rebuild_parameter)"
    r"|torch(\.storage)? [A-Z]\w*Storage|torch (Size|device|[a-z]+\d+(_\w+)?|bool|float|double|half|int|long)"
)
# An old file, before zip, is five pickles and then the numbers.
_OLD_PICKLES = 5


def load_untrusted(path: Path) -> Any:  # noqa: ANN401 - whatever the file holds; callers check
    """Unpickles tensors, containers and plain values; of classes only ``argparse.Namespace``.

    The reference's trainer stores its options as a pickled ``argparse.Namespace`` (spec 12.1); nothing else is
    needed, and everything else is refused. The checksums of the file are verified first.

    Raises:
        CheckpointError: no such file, no PyTorch file, cut off, changed, or holding anything else than the above.
    """
    import torch

    require_file(path)
    try:
        if is_zip(path):
            _refuse_objects(path, checked_pickle(path, COPY_AGAIN), 1)
        else:
            with path.open("rb") as file:
                _refuse_objects(path, file.read(MOST_PICKLE_BYTES), _OLD_PICKLES)
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols; whatever matters is raised
            return torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        found = _GLOBAL.search(str(error))
        if found is not None:
            raise _object(path, found.group(1)) from error
        raise _damaged(path) from error
    except MemoryError as error:
        raise CheckpointError(f"{path} is damaged, or larger than the memory of this machine") from error
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # zip reader and unpickler raise all kinds; their words name internals, not remedies
        raise _damaged(path) from error


def require_file(path: Path) -> None:
    """Refuses what is no file that can be opened.

    Raises:
        CheckpointError: missing, a folder or device, or a name that no file can have.
    """
    try:
        if path.is_file():
            return
        if path.exists():
            raise CheckpointError(f"{path} is not a file", hint="give a checkpoint file or a Hugging Face OFA folder")
    except (OSError, ValueError) as error:  # too long, no rights, NUL
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise CheckpointError(f"cannot read the checkpoint {str(path)[:200]!r}: {reason}") from error
    raise CheckpointError(f"no such checkpoint: {path}", hint="give a file, a folder, a hub id, or 'micro'")


def _refuse_objects(path: Path, stream: bytes, pickles: int) -> None:
    """Looks through the instructions before any is carried out; what is no pickle at all is left to torch to refuse."""
    source = io.BytesIO(stream)
    texts: list[str] = []
    for _ in range(pickles):
        for operation, argument, _ in pickletools.genops(source):
            if operation.name in ("GLOBAL", "INST"):
                name = str(argument)
            elif operation.name == "STACK_GLOBAL":
                name = " ".join(texts[-2:])
            else:
                if isinstance(argument, str):
                    texts = [*texts[-1:], argument]
                continue
            if not _ALLOWED.fullmatch(name):
                raise _object(path, name.replace(" ", "."))


def _object(path: Path, name: str) -> CheckpointError:
    return CheckpointError(
        f"{path} holds a Python object that is not loaded: {re.sub(r'[^ -~]', '?', name)[:100]}", hint=_RESAVE
    )


def _damaged(path: Path) -> CheckpointError:
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(24).startswith(b"version https://git-lfs"):
            return CheckpointError(f"{path} is a pointer of Git LFS, not the checkpoint", hint="fetch it: git lfs pull")
    return CheckpointError(
        f"{path} is not a PyTorch checkpoint, or is cut off or damaged ({size} bytes)", hint=COPY_AGAIN
    )
