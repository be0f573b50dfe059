"""Does the exported graph compute what the model computes? Measured on pictures through the whole product path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export.onnx_writer import INPUT_NAME
from ifseg_rt.artifact import Parity, Preprocess
from ifseg_rt.errors import ExportError
from ifseg_rt.labels import upsample_labels
from ifseg_rt.preprocess import Preprocessor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from export.freeze import FrozenSegmenter
    from export.pictures import Picture
    from train.model import IFSegModel

# float32 noise of the model itself is about 2e-5 on logits; a wrong operator is off by far more than 1e-3.
LOGIT_TOLERANCE = 1e-3
LABEL_TOLERANCE = 0.999
_ERRORS_ONLY = 3


@dataclass(frozen=True)
class ParityReport:
    """Model and graph compared, labels at the resolution of the pictures.

    Attributes:
        max_logit_difference: largest absolute difference over all pictures, patches and categories.
        label_agreement: share of pixels with equal labels, refined, over all pictures.
        label_agreement_unrefined: likewise, labels from the raw logits.
        worst_picture: the picture with the smallest agreement, and that agreement.
        worst_class: the category whose pixels agree least, and that agreement.
        pictures: how many were compared.
    """

    max_logit_difference: float
    label_agreement: float
    label_agreement_unrefined: float
    worst_picture: tuple[str, float]
    worst_class: tuple[str, float]
    pictures: int

    def record(self) -> Parity:
        """What the sidecar keeps."""
        return Parity(self.max_logit_difference, self.label_agreement, self.pictures)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def check(self) -> None:
        """Refuses a graph that computes something else.

        Raises:
            ExportError: a difference beyond tolerance, or values that are not finite.
        """
        if not self.max_logit_difference <= LOGIT_TOLERANCE:
            raise ExportError(
                f"the exported graph does not compute the same as the model: logits differ by up to "
                f"{self.max_logit_difference:.2g}, at most {LOGIT_TOLERANCE:g} is allowed"
            )
        agreement = min(self.label_agreement, self.label_agreement_unrefined)
        if not agreement >= LABEL_TOLERANCE:
            raise ExportError(
                f"the exported graph does not label as the model does: {agreement:.4%} of the pixels agree, at least "
                f"{LABEL_TOLERANCE:.1%} must (worst: picture {self.worst_picture[0]}, class {self.worst_class[0]!r})",
                hint="a difference in labels alone comes from patches that look nearly alike; check on real pictures "
                "with --pictures FOLDER",
            )


@dataclass(frozen=True)
class _Scores:
    """Of one picture: logits ``[n, C]`` and refined probabilities ``[C, h, w]``."""

    logits: NDArray[np.float32]
    refined: NDArray[np.float32]


def measure_parity(
    model: IFSegModel,
    frozen: FrozenSegmenter,
    onnx_path: Path,
    preprocess: Preprocess,
    pictures: Sequence[Picture],
    names: Sequence[str],
) -> ParityReport:
    """Runs all pictures through PyTorch, then through ONNX Runtime, and compares.

    One after the other: in one process both would fight over the same cores.

    Args:
        model: the model that was exported, in evaluation mode on the CPU.
        frozen: its frozen form; gives batch, grid and refinement settings.
        onnx_path: the graph.
        preprocess: as in the sidecar.
        pictures: at least one.
        names: category names.
    """
    prepare = Preprocessor(preprocess)
    inputs = np.concatenate([prepare(frame, "bgr") for _, frame in pictures])
    expected = _run_model(model, frozen, inputs)
    found = _run_graph(onnx_path, frozen.batch, inputs)

    difference = 0.0
    equal_unrefined = 0
    pixels_of = np.zeros(len(names), dtype=np.int64)
    equal_of = np.zeros(len(names), dtype=np.int64)
    by_picture: list[tuple[str, float]] = []
    for (name, frame), model_scores, graph_scores in zip(pictures, expected, found, strict=True):
        gap = np.abs(model_scores.logits - graph_scores.logits).max()
        difference = float(np.maximum(difference, gap))  # carries a NaN on
        height, width = frame.shape[:2]
        labels = upsample_labels(model_scores.refined, height, width)
        equal = labels == upsample_labels(graph_scores.refined, height, width)
        pixels_of += np.bincount(labels.ravel(), minlength=len(names))
        equal_of += np.bincount(labels[equal], minlength=len(names))
        by_picture.append((name, float(equal.mean())))
        plain, plain_graph = (
            upsample_labels(_planes(scores.logits, frozen.grid), height, width)
            for scores in (model_scores, graph_scores)
        )
        equal_unrefined += int((plain == plain_graph).sum())
    shares = np.divide(equal_of, pixels_of, out=np.ones(len(names)), where=pixels_of > 0)
    worst = int(shares.argmin())
    total = int(pixels_of.sum())
    return ParityReport(
        max_logit_difference=difference,
        label_agreement=int(equal_of.sum()) / total,
        label_agreement_unrefined=equal_unrefined / total,
        worst_picture=min(by_picture, key=lambda entry: entry[1]),
        worst_class=(names[worst], float(shares[worst])),
        pictures=len(pictures),
    )


def _run_model(model: IFSegModel, frozen: FrozenSegmenter, inputs: NDArray[np.float32]) -> list[_Scores]:
    import torch

    from train.model import neighbours, refine

    out = []
    with torch.inference_mode():
        for batch in _batches(inputs, frozen.batch):
            features = model.features(torch.from_numpy(batch))
            logits = model.patch_rows(model.all_logits(model.project(features), frozen.grid))
            refined = refine(logits.softmax(-1), neighbours(features, frozen.neighbours), frozen.rounds)
            for one, smooth in zip(logits.numpy(), refined.numpy(), strict=True):
                out.append(_Scores(one, _planes(smooth, frozen.grid)))
    return out[: len(inputs)]


def _run_graph(onnx_path: Path, batch_size: int, inputs: NDArray[np.float32]) -> list[_Scores]:
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(str(onnx_path), options, providers=["CPUExecutionProvider"])
        out = []
        for batch in _batches(inputs, batch_size):
            refined, logits = session.run(["probabilities", "logits"], {INPUT_NAME: batch})
            out += [_Scores(one, smooth) for one, smooth in zip(logits, refined, strict=True)]
    except Exception as error:  # ONNX Runtime raises a different class for every status code
        raise ExportError(f"ONNX Runtime {onnxruntime.__version__} does not run the exported graph: {error}") from error
    return out[: len(inputs)]


def _batches(inputs: NDArray[np.float32], size: int) -> list[NDArray[np.float32]]:
    """Full batches; the last one is filled up with its own last picture."""
    out = []
    for start in range(0, len(inputs), size):
        batch = inputs[start : start + size]
        missing = size - len(batch)
        out.append(np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)]) if missing else batch)
    return out


def _planes(rows: NDArray[np.float32], grid: tuple[int, int]) -> NDArray[np.float32]:
    """``[n, C]`` -> ``[C, h, w]``."""
    return np.ascontiguousarray(rows.T).reshape(-1, *grid)
