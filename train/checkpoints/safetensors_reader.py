"""Files in the safetensors format: names, shapes and numbers, and never any code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ifseg_rt.errors import CheckpointError
from train.checkpoints.safe_pickle import COPY_AGAIN

if TYPE_CHECKING:
    from torch import Tensor

SUFFIX = ".safetensors"


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as the format does: the length of its header, then the header's brace."""
    with path.open("rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, copied into memory: the file may change or go afterwards.

    Raises:
        CheckpointError: the library is missing; the file is cut off, damaged, or of kinds of numbers unknown here.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise CheckpointError(
            f"reading {path} needs the package safetensors", hint="pip install safetensors"
        ) from error
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        reason = (str(error).splitlines() or ["unknown"])[0][:200]
        raise CheckpointError(
            f"the safetensors file {path} is cut off or damaged: {reason}", hint=COPY_AGAIN
        ) from error
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, AttributeError, RuntimeError, MemoryError) as error:
        raise CheckpointError(f"the safetensors file {path} holds tensors that PyTorch has no kind for") from error
