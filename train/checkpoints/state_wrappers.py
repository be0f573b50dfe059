"""What training programs put around the tensors: entries of a dictionary, prefixes of the names, their options."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ifseg_rt.errors import CheckpointError

# The trained weights before their running averages: where a file has both, the first is what the reference reads.
_WRAPPERS = (
    "model", "state_dict", "model_state_dict", "module", "ema", "model_ema", "ema_model", "state_dict_ema",
    "ema_state_dict", "extra_state",
)  # fmt: skip
_ANCHOR = "encoder.embed_tokens.weight"
_DEEPEST, _MOST_OPTIONS = 4, 100_000


def find_state(document: object, origin: str) -> dict[str, object]:
    """The entries of a foreign file that are named like OFA's tensors, without what stands before their names.

    Raises:
        CheckpointError: there are none; says what the file holds instead.
    """
    found = _search(document, 0)
    if found is None:
        raise CheckpointError(
            f"{origin} has no model weights of OFA: expected a tensor {_ANCHOR}, found {_contents(document)}",
            hint="expected a checkpoint with a 'model' entry, a state dict, or a Hugging Face OFA folder",
        )
    state, prefix = found
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def find_part(document: object, path: Path) -> dict[str, object]:
    """The entries of a further file of a model in several files, which need not hold the tensor that tells OFA.

    Raises:
        CheckpointError: it holds no named entries.
    """
    if not isinstance(document, dict):
        raise CheckpointError(f"{path} is no part of a model: it holds {_contents(document)}")
    return {name: value for name, value in document.items() if type(name) is str}


def _search(document: object, depth: int) -> tuple[dict[str, object], str] | None:
    if not isinstance(document, dict) or depth > _DEEPEST:
        return None
    state = {name: value for name, value in document.items() if type(name) is str}
    anchors = [name for name in state if name == _ANCHOR or name.endswith(f".{_ANCHOR}")]
    if anchors:
        # "module." and "model." of a wrapper class; of several models in one file the one with the shortest prefix.
        return state, min(anchors, key=len).removesuffix(_ANCHOR)
    for key in _WRAPPERS:
        inner = _search(state.get(key), depth + 1)
        if inner is not None:
            return inner
    return None


def _contents(document: object) -> str:
    if not isinstance(document, Mapping):
        return f"a {type(document).__name__}"
    names = [repr(str(name)[:60]) for name, _ in zip(document, range(5), strict=False)]
    return (", ".join(names) + (f" and {len(document) - 5} more" if len(document) > 5 else "")) or "nothing"


def recorded_categories(document: object) -> tuple[str, ...]:
    """``category_list`` ("sky, road") from wherever the reference's configuration keeps it, none where it has none.

    The configuration is of strangers: it may contain itself, or share parts so often that visiting them never ends.
    """
    waiting: list[Any] = [document.get("cfg")] if isinstance(document, dict) else []
    seen: set[int] = set()
    while waiting and len(seen) < _MOST_OPTIONS:
        cfg = waiting.pop(0)
        if isinstance(cfg, argparse.Namespace):
            cfg = vars(cfg)
        if not isinstance(cfg, dict) or id(cfg) in seen:
            continue
        seen.add(id(cfg))
        found = cfg.get("category_list")
        if isinstance(found, str) and found.strip():
            return tuple(" ".join(name.split()) for name in found.split(",") if name.strip())
        waiting += list(cfg.values())[:_MOST_OPTIONS]
    return ()
