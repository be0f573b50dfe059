"""Labels pictures with a model and counts what is right: through the run time, as a user's frames go, or in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.picture_set import LabelledPicture
from benchmarks.quality.metrics import Confusion, Mistake, Scores
from benchmarks.quality.sheet import Example
from ifseg_rt import Segmenter
from ifseg_rt.errors import IfsegError

Averaging = tuple[int, int] | None
"""Neighbours and rounds of the refinement (specification, section 9), or ``None`` for none."""


class Labeller(Protocol):
    """One or more settings of a model, labelling a picture at its own resolution."""

    def __call__(self, picture: NDArray[np.uint8]) -> Sequence[NDArray[Any]]:
        """Label a picture ``[H, W, 3]`` BGR: one integer map ``[H, W]`` per setting."""
        ...


@dataclass(frozen=True)
class Run:
    """A model with some settings of the refinement that are measured in one pass over the pictures.

    Attributes:
        model: its name in the tables.
        averagings: one per label map that the labeller gives.
        open: opens the labeller.
    """

    model: str
    averagings: tuple[Averaging, ...]
    open: Callable[[], AbstractContextManager[Labeller]]


@dataclass(frozen=True)
class Quality:
    """What was counted for one model with one setting of the refinement."""

    model: str
    averaging: Averaging
    scores: Scores
    mistakes: tuple[Mistake, ...]

    @property
    def refined(self) -> bool:
        """Whether the refinement was on."""
        return self.averaging is not None

    @property
    def title(self) -> str:
        """The model's name, and whether it was refined."""
        return f"{self.model}, refined" if self.refined else self.model


def evaluate(
    run: Run,
    pictures: Sequence[LabelledPicture],
    classes: int,
    *,
    mistakes: int = 0,
    step: Callable[[], None] = lambda: None,
) -> list[Quality]:
    """Score a model over pictures, once per setting.

    Args:
        run: the model; its categories stand in the order of the classes.
        pictures: what to run it on.
        classes: number of classes.
        mistakes: how many of the most frequent mistakes to keep.
        step: called after every picture.

    Raises:
        ArtifactError: the model is missing or edited.
        SourceError: a picture or its labels cannot be read, or nothing was counted.
    """
    counts = [Confusion(classes) for _ in run.averagings]
    with run.open() as labeller:
        for item in pictures:
            picture, truth = item.read()
            if (truth >= 0).any():  # where nothing is counted the prediction does not matter
                for confusion, labels in zip(counts, labeller(picture), strict=True):
                    _add(confusion, item, truth, labels)
            step()
    return [
        Quality(run.model, averaging, confusion.scores(), tuple(confusion.mistakes(mistakes)))
        for averaging, confusion in zip(run.averagings, counts, strict=True)
    ]


def _add(confusion: Confusion, item: LabelledPicture, truth: NDArray[np.int16], labels: NDArray[Any]) -> None:
    try:
        confusion.add(truth, labels)
    except IfsegError as error:
        raise type(error)(f"{item.name}: {error}", hint=error.hint) from error


def examples(run: Run, pictures: Sequence[LabelledPicture]) -> list[Example]:
    """Return pictures, truths and predictions for a sheet, with the last of the run's settings."""
    rows: list[Example] = []
    with run.open() as labeller:
        for item in pictures:
            picture, truth = item.read()
            rows.append(Example(item.name, picture, truth, np.asarray(labeller(picture)[-1]).astype(int)))
    return rows


def segmenter_run(name: str, path: Path, averaging: Averaging, *, device: str = "auto", threads: int | None) -> Run:
    """Return the run of an exported model, exactly as a user's frames go through it."""

    @contextmanager
    def opened() -> Iterator[Labeller]:
        with Segmenter(path, refine=averaging or False, device=device, threads=threads) as segmenter:
            yield lambda picture: [segmenter(picture).labels]

    return Run(name, (averaging,), opened)
