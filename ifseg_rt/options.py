"""How a model shall be run, as plain data: on which device, with which averaging, and what is made of every frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from ifseg_rt.errors import UsageError

if TYPE_CHECKING:
    from ifseg_rt.artifact.sidecar import Artifact

Kind = Literal["auto", "cpu", "cuda", "tensorrt"]
_NUMBERED = ("cuda", "tensorrt")
EXPECTED = "auto, cpu, cuda, tensorrt, or cuda:N or tensorrt:N for GPU N"


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
        name, colon, number = str(text).partition(":")
        numbered = name in _NUMBERED and number.isascii() and number.isdecimal()
        for kind in get_args(Kind):
            if name == kind and (numbered or not colon):
                return cls(kind, int(number) if colon else None)
        raise UsageError(f"device must be {EXPECTED}; found {text!r}")

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
    """

    device: DeviceChoice = field(default_factory=DeviceChoice)
    threads: int | None = None
    cuda_graph: bool = True
    time_stages: bool = False
    extras: Extras = field(default_factory=Extras)
