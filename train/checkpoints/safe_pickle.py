"""Reads a PyTorch file without running any code that it may carry."""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

from ifseg_rt.errors import CheckpointError

_GLOBAL = re.compile(r"(?:GLOBAL|class|global) ([\w.]+)")


def load_untrusted(path: Path) -> Any:  # noqa: ANN401 - whatever the file holds; callers check
    """Unpickles tensors, containers and plain values; of classes only ``argparse.Namespace``.

    The reference's trainer stores its options as a pickled ``argparse.Namespace`` (spec 12.1); nothing else is
    needed, and everything else is refused.

    Raises:
        CheckpointError: no such file, no PyTorch file, truncated, or holding anything else than the above.
    """
    import torch

    if not path.is_file():
        raise CheckpointError(f"no such checkpoint: {path}", hint="give a file, a folder, a hub id, or 'micro'")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols; whatever matters is raised
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = _GLOBAL.search(str(error))
        if found is not None:
            raise CheckpointError(
                f"{path} holds a Python object that is not loaded: {found.group(1)}",
                hint="such a file can run code; re-save its tensors alone with torch.save(state_dict)",
            ) from error
        raise _damaged(path) from error
    except MemoryError:
        raise
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # zip reader and unpickler raise all kinds; their words name internals, not remedies
        raise _damaged(path) from error


def _damaged(path: Path) -> CheckpointError:
    size = path.stat().st_size
    return CheckpointError(
        f"{path} is not a PyTorch checkpoint, or is cut off or damaged ({size} bytes)",
        hint="copy or download it again and compare the size",
    )
