"""How a model shall be run, as plain data: on which device, with which averaging, and what is made of every frame."""

from __future__ import annotations

import math
import operator
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from ifseg_rt.errors import UsageError

if TYPE_CHECKING:
    from ifseg_rt.artifact.sidecar import Artifact

Kind = Literal["auto", "cpu", "cuda", "tensorrt"]
_NUMBERED = ("cuda", "tensorrt")
MOST_THREADS, MOST_ROUNDS = 1024, 1000
EXPECTED = "auto, cpu, cuda, tensorrt, or cuda:N or tensorrt:N for GPU N"

KINDS = ("overlay", "labels", "masks", "coco", "label-video")  # what may be saved of a source


@dataclass(frozen=True)
class DeviceChoice:
    """A device as it was asked for.

    Attributes:
        kind: what shall run the network.
        index: number of the GPU as CUDA counts those that ``CUDA_VISIBLE_DEVICES`` leaves, from 0; ``None`` where none
            was named.
    """

    kind: Kind = "auto"
    index: int | None = None

    @classmethod
    def parse(cls, text: str) -> DeviceChoice:
        """The device that ``text`` names.

        Raises:
            UsageError: it names none.
        """
        name, colon, number = text.partition(":") if isinstance(text, str) else ("", "", "")
        numbered = name in _NUMBERED and number.isascii() and number.isdecimal() and len(number) < 6
        for kind in get_args(Kind):
            if name == kind and (numbered or not colon):
                return cls(kind, int(number) if colon else None)
        raise UsageError(f"device must be {EXPECTED}; found {shown(text)}")

    @property
    def gpu(self) -> int:
        """Number of the GPU to use, should one be used: 0 where none was named."""
        return self.index or 0

    def __str__(self) -> str:
        return self.kind if self.index is None else f"{self.kind}:{self.index}"


@dataclass(frozen=True)
class Extras:
    """What is made of every frame besides labels and probabilities; what is not asked for costs nothing.

    Attributes:
        confidence: whether the up-sampled probability of each pixel's label is.
        overlay: opacity (0..1) of the category colours over the frame, or ``None`` for no picture.
    """

    confidence: bool = False
    overlay: float | None = None


@dataclass(frozen=True)
class Averaging:
    """The kNN averaging of one segmenter (spec 9).

    Attributes:
        settings: neighbours and rounds, or ``None`` to label from the raw logits (spec 8).
        baked: whether the graph's own ``probabilities`` output already is averaged like that.
    """

    settings: tuple[int, int] | None
    baked: bool

    @classmethod
    def of(cls, settings: tuple[int, int] | None, artifact: Artifact) -> Averaging:
        """The averaging with ``settings`` for this model."""
        return cls(settings, settings is not None and settings == baked_refinement(artifact))


def baked_refinement(artifact: Artifact) -> tuple[int, int] | None:
    """Neighbours and rounds that the model's ``probabilities`` are averaged with; ``None`` for no refinement."""
    own = artifact.refinement
    return None if own is None else (own.neighbours, own.rounds)


@dataclass(frozen=True)
class RunOptions:
    """How a model shall be run.

    Attributes:
        device: where.
        threads: CPU threads of the run time; ``None`` for its own choice.
        cuda_graph: record frames on the GPU as CUDA graphs where the network allows it.
        time_stages: measure every stage on the GPU, which excludes the graph.
        extras: what is made of every frame besides labels and probabilities.
        allow_host_code: let an engine that carries code for the CPU run it.
    """

    device: DeviceChoice = field(default_factory=DeviceChoice)
    threads: int | None = None
    cuda_graph: bool = True
    time_stages: bool = False
    extras: Extras = field(default_factory=Extras)
    allow_host_code: bool = False


def checked_path(path: object) -> Path:
    """The path of a model.

    Raises:
        UsageError: it is no text and no ``Path``, empty, or holds a NUL.
    """
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise UsageError(f"the model must be a path (text or pathlib.Path), found {shown(path)}", hint='"model.onnx"')
    return Path(text)


def checked_switch(name: str, value: object) -> bool:
    """``True`` or ``False``.

    Raises:
        UsageError: it is something else: a text such as "no" would count as yes.
    """
    if value is True or value is False:
        return value
    raise UsageError(f"{name} must be True or False, found {shown(value)}")


def checked_threads(threads: object) -> int | None:
    """A number of threads, or ``None``.

    Raises:
        UsageError: it is no whole number from 1 to 1024.
    """
    if threads is None:
        return None
    count = _whole(threads)
    if count is None or not 1 <= count <= MOST_THREADS:
        raise UsageError(f"threads must be at least 1 (to {MOST_THREADS}) or None, found {shown(threads)}")
    return count


def checked_opacity(overlay: object) -> float | None:
    """An opacity from 0 to 1, or ``None``.

    Raises:
        UsageError: it is something else; ``True`` would be taken for 1, and paint everything over.
    """
    if overlay is None:
        return None
    try:
        value = math.nan if isinstance(overlay, bool | str | bytes) else float(overlay)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not 0.0 <= value <= 1.0:
        raise UsageError(f"overlay must be an opacity in 0..1 or None, found {shown(overlay)}", hint="overlay=0.5")
    return value


def checked_refinement(refine: object) -> bool | tuple[int, int]:
    """``True``, ``False``, or neighbours and rounds.

    Raises:
        UsageError: it is something else, or too many rounds.
    """
    if refine is True or refine is False:
        return refine
    numbers = [_whole(value) for value in refine] if isinstance(refine, tuple | list) else []
    k, rounds = numbers if len(numbers) == 2 else (None, None)
    if k is None or rounds is None:
        raise UsageError(f"refine must be True, False or (k, rounds) in whole numbers, found {shown(refine)}")
    if not 0 <= rounds <= MOST_ROUNDS:
        raise UsageError(f"refinement takes 0 to {MOST_ROUNDS} rounds, found {shown(rounds)}")
    return k, rounds


def refinement_settings(refine: bool | tuple[int, int], artifact: Artifact) -> tuple[int, int] | None:
    """Neighbours and rounds for a model, ``None`` for no refinement.

    Raises:
        UsageError: the model has no refinement, or not as many neighbours.
    """
    if isinstance(refine, bool):
        return baked_refinement(artifact) if refine else None
    if artifact.refinement is None:
        raise UsageError(
            f"the model {artifact.name!r} has no refinement, found refine={refine!r}",
            hint="leave refine (--refine) out: labels come from the logits",
        )
    most = artifact.refinement.max_neighbours
    if not 1 <= refine[0] <= most:
        raise UsageError(f"refinement takes 1 to {most} neighbours with this model, found {shown(refine[0])}")
    return refine


def shown(value: object) -> str:
    """A value for a message: in one line, not too long, and never an error of its own."""
    try:
        words = " ".join(repr(value).split())
    except Exception:  # a foreign object may raise anything, and Python writes no number of more than 4300 digits
        words = ""
    if not words or len(words) > 60:
        return f"{type(value).__name__} {words[:57]}...".replace(" ...", "") if words else type(value).__name__
    return words


def _whole(value: object) -> int | None:
    """A whole number of any library as Python's, but neither a bool nor an array."""
    if isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"):
        return None
    try:
        return operator.index(value) if not hasattr(value, "shape") or value.shape == () else None  # type: ignore[arg-type]
    except TypeError:
        return None
