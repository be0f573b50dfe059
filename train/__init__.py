"""Models and image-free adaptation. ``from train import load_model`` imports torch only when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from train.load import load_model

__all__ = ["load_model"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module attribute can be anything
    if name == "load_model":
        from train.load import load_model

        return load_model
    raise AttributeError(f"module 'train' has no attribute {name!r}")
