"""What ``benchmarks.gpu`` measures: every item with its key, in the order in which it is worth having."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

Kind = Literal["kernels", "runs", "frame", "adaptation"]
Size = tuple[int, int]

KINDS: tuple[Kind, ...] = ("kernels", "runs", "frame", "adaptation")
# The order of a table, and of measuring: the reference first, every speed-up is over it; compiling last, it is slow.
PATHS = (
    "plain",
    "frozen",
    "frozen-kernels",
    "onnx-cuda",
    "tensorrt",
    "tensorrt_rtx",
    "tensorrt-int8",
    "tensorrt_rtx-int8",
    "compile",
)
TORCH_PATHS = ("plain", "frozen", "frozen-kernels", "compile")
# Run times that a GPU or an installation may lack: asked once with a small model before large ones are made for them.
PROBED_PATHS = ("onnx-cuda", "tensorrt", "tensorrt_rtx")
_INT8 = "-int8"
# The goals are set for this one: should time run out, it is there.
FIRST_MODEL = "base"


@dataclass(frozen=True)
class Item:
    """One measurement.

    Attributes:
        kind: ``kernels`` against their floor; ``runs``: does this run time work here at all; ``frame`` along one path;
            ``adaptation``.
        path: for ``runs`` and ``frame``, one of :data:`PATHS`.
        model: for ``frame`` and ``adaptation``, an OFA size.
        classes: number of categories.
        size: input height and width.
        frame: frame height and width.
    """

    kind: Kind
    path: str = ""
    model: str = ""
    classes: int = 0
    size: Size = (0, 0)
    frame: Size = (480, 640)

    def key(self, machine: str) -> dict[str, Any]:
        """Return what the figures depend on, ready for JSON."""
        return {
            "item": self.kind,
            "path": self.path,
            "model": self.model,
            "classes": self.classes,
            "size": _text(self.size),
            "frame": _text(self.frame),
            "machine": machine,
        }

    @property
    def runtime(self) -> str:
        """What a path runs on: the path without its precision."""
        return self.path.removesuffix(_INT8)

    @property
    def builds_engine(self) -> bool:
        """Whether the path takes an engine of TensorRT."""
        return self.runtime in ("tensorrt", "tensorrt_rtx")

    @property
    def precision(self) -> str:
        """Of the exported graph."""
        return "int8_fp16" if self.path.endswith(_INT8) else "fp16"

    def label(self) -> str:
        """Return one line for people."""
        if self.kind == "kernels":
            return "kernels against the time that moving their bytes takes"
        if self.kind == "runs":
            return f"does {self.path} run here at all: the shipped micro"
        if self.kind == "adaptation":
            return f"adaptation of {self.model}, {self.classes} categories"
        return f"{self.model}, {_text(self.size)}, {self.classes} categories, {self.path}"


def plan(
    models: Sequence[str],
    sizes: Sequence[Size],
    classes: Sequence[int],
    paths: Sequence[str],
    kinds: Sequence[str],
    frame: Size,
) -> list[Item]:
    """Return the items that are asked for, the most telling first.

    Args:
        models: OFA sizes.
        sizes: input sizes.
        classes: numbers of categories.
        paths: of :data:`PATHS`.
        kinds: of :data:`KINDS`.
        frame: frame height and width.
    """
    ordered = sorted(models, key=lambda model: model != FIRST_MODEL)
    items = [Item("kernels", frame=frame)]
    items += [Item("runs", path, "micro", frame=frame) for path in PROBED_PATHS if path in paths]
    settings = list(product(ordered, sizes, classes))
    frames = [Item("frame", path, *setting_of(setting), frame) for setting in settings for path in _chosen(paths)]
    first = [item for item in frames if item.model == ordered[0] and item.size == sizes[0]] if frames else []
    items += first
    if FIRST_MODEL in models:
        items += [Item("adaptation", "", FIRST_MODEL, count, frame=frame) for count in classes]
    items += [item for item in frames if item not in first]
    return [item for item in items if item.kind in kinds]


def setting_of(setting: tuple[str, Size, int]) -> tuple[str, int, Size]:
    """Return (model, size, classes) in the order of :class:`Item`."""
    model, size, classes = setting
    return model, classes, size


def _chosen(paths: Sequence[str]) -> list[str]:
    return [path for path in PATHS if path in paths]


def _text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
