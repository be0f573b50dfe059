"""Segmentation quality from a confusion matrix, defined as in the method's evaluation (specification, section 10)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ifseg_rt.errors import SourceError


@dataclass(frozen=True)
class Scores:
    """Quality over a whole set, as fractions 0..1.

    Attributes:
        miou: mean IoU over the classes whose union is not empty.
        all_accuracy: right pixels / counted pixels (aAcc).
        mean_accuracy: mean over the labelled classes of right / labelled pixels (mAcc).
        iou: per class; ``None`` where a class is neither labelled nor predicted.
        accuracy: per class, right / labelled pixels; ``None`` where a class is not labelled.
        precision: per class, right / predicted pixels; ``None`` where a class is not predicted.
        share: per class, labelled / counted pixels.
        pixels: counted pixels.
    """

    miou: float
    all_accuracy: float
    mean_accuracy: float
    iou: tuple[float | None, ...]
    accuracy: tuple[float | None, ...]
    precision: tuple[float | None, ...]
    share: tuple[float, ...]
    pixels: int


@dataclass(frozen=True)
class Mistake:
    """One class taken for another.

    Attributes:
        truth: index of the labelled class.
        prediction: index of the predicted class.
        pixels: how many.
        share: of the pixels labelled as ``truth``.
    """

    truth: int
    prediction: int
    pixels: int
    share: float


class Confusion:
    """Counts of (true class, predicted class) pairs, summed over any number of pictures.

    Args:
        classes: number of classes; indices outside 0..classes-1 in the truth are not counted.
    """

    def __init__(self, classes: int) -> None:
        self.matrix: NDArray[np.int64] = np.zeros((classes, classes), np.int64)

    def add(self, truth: NDArray[np.integer], prediction: NDArray[np.integer]) -> None:
        """Count one picture.

        Args:
            truth: integers ``[H, W]``; class indices, anything outside the classes is ignored.
            prediction: integers ``[H, W]``; class indices.

        Raises:
            SourceError: the shapes differ, or a counted pixel is predicted as no class.
        """
        if truth.shape != prediction.shape:
            raise SourceError(f"the labels are {truth.shape} and the prediction is {prediction.shape} pixels")
        classes = len(self.matrix)
        counted = (truth >= 0) & (truth < classes)
        predicted = prediction[counted].astype(np.int64)
        if predicted.size and (predicted.min() < 0 or predicted.max() >= classes):
            raise SourceError(f"the prediction has class {predicted.max()}; there are {classes} classes")
        pairs = truth[counted].astype(np.int64) * classes + predicted
        self.matrix += np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)

    def scores(self) -> Scores:
        """Return the scores of everything counted so far.

        Raises:
            SourceError: nothing was counted.
        """
        pixels = int(self.matrix.sum())
        if pixels == 0:
            raise SourceError("no labelled pixel was counted, so there is nothing to score")
        hits = np.diag(self.matrix).astype(np.float64)
        labelled = self.matrix.sum(axis=1).astype(np.float64)
        predicted = self.matrix.sum(axis=0).astype(np.float64)
        iou, accuracy = _ratio(hits, labelled + predicted - hits), _ratio(hits, labelled)
        return Scores(
            miou=float(np.nanmean(iou)),
            all_accuracy=float(hits.sum() / pixels),
            mean_accuracy=float(np.nanmean(accuracy)),
            iou=_known(iou),
            accuracy=_known(accuracy),
            precision=_known(_ratio(hits, predicted)),
            share=tuple(float(value) for value in labelled / pixels),
            pixels=pixels,
        )

    def mistakes(self, most: int) -> list[Mistake]:
        """Return the ``most`` frequent pairs of a labelled and another, predicted class, most pixels first."""
        wrong = self.matrix * (1 - np.eye(len(self.matrix), dtype=np.int64))
        labelled = self.matrix.sum(axis=1)
        found: list[Mistake] = []
        for place in np.argsort(-wrong, axis=None, kind="stable")[:most]:
            truth, prediction = (int(index) for index in np.unravel_index(place, wrong.shape))
            pixels = int(wrong[truth, prediction])
            if pixels:
                found.append(Mistake(truth, prediction, pixels, pixels / int(labelled[truth])))
        return found


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)


def _known(values: NDArray[np.float64]) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(value) else float(value) for value in values)
