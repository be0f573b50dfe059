"""Runs a model over labelled pictures through the run time, exactly as a user's frames go through it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.datasets import LabelledPicture
from benchmarks.metrics import Confusion, Scores
from benchmarks.sheet import Example
from benchmarks.tables import markdown_table, percent
from ifseg_rt import Segmenter


@dataclass(frozen=True)
class Quality:
    """Scores of one model with one setting of the refinement."""

    model: str
    refined: bool
    scores: Scores

    @property
    def title(self) -> str:
        return f"{self.model}, refined" if self.refined else self.model

    def to_dict(self) -> dict[str, object]:
        """Return plain values, ready for JSON."""
        return {"model": self.model, "refined": self.refined, **asdict(self.scores)}


def evaluate(
    model: Path,
    pictures: Sequence[LabelledPicture],
    classes: int,
    *,
    refined: bool,
    step: Callable[[], None] = lambda: None,
) -> Scores:
    """Score a model over pictures.

    Args:
        model: ``model.onnx`` whose categories stand in the order of the classes.
        pictures: what to run it on.
        classes: number of classes.
        refined: with the kNN refinement of the sidecar's settings (specification, section 9) or without.
        step: called after every picture.

    Raises:
        ArtifactError: the model is missing or edited.
        SourceError: a picture cannot be read, or nothing was counted.
    """
    confusion = Confusion(classes)
    with Segmenter(model, refine=refined) as segmenter:
        for item in pictures:
            confusion.add(item.truth(), segmenter(item.picture()).labels)
            step()
    return confusion.scores()


def examples(model: Path, pictures: Sequence[LabelledPicture], *, refined: bool) -> list[Example]:
    """Return pictures, truths and predictions for a sheet; arguments as for :func:`evaluate`."""
    rows: list[Example] = []
    with Segmenter(model, refine=refined) as segmenter:
        for item in pictures:
            picture = item.picture()
            rows.append(Example(picture, item.truth(), segmenter(picture).labels.astype(int)))
    return rows


def quality_tables(rows: Sequence[Quality], categories: Sequence[str]) -> str:
    """Return two Markdown tables in per cent: the scores of the whole set and the IoU of every class."""
    whole = markdown_table(
        ["model", "refinement", "mIoU", "aAcc", "mAcc"],
        [
            [
                row.model,
                "on" if row.refined else "off",
                percent(row.scores.miou),
                percent(row.scores.all_accuracy),
                percent(row.scores.mean_accuracy),
            ]
            for row in rows
        ],
    )
    single = markdown_table(
        ["IoU", *(row.title for row in rows)],
        [[name, *(percent(row.scores.iou[index]) for row in rows)] for index, name in enumerate(categories)],
    )
    return f"{whole}\n{single}"
