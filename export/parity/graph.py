"""Does the exported graph compute what the model computes? Measured on pictures through the whole product path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from export.parity.agreement import LabelAgreement
from export.parity.comparison import LABEL_TOLERANCE, NOT_IN_ONNX_RUNTIME, Comparison, ParityError, figures
from ifseg_rt.artifact.schema import IMAGE, LOGITS, PROBABILITIES
from ifseg_rt.artifact.sidecar import Preprocess
from ifseg_rt.errors import ExportError
from ifseg_rt.host.preprocess import Preprocessor
from ifseg_rt.upsampling.labels import upsample_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from export.frozen.head import FrozenModel
    from export.pictures import Picture
    from train.models.base import SegmentationModel

# float32 noise of the model itself is about 2e-5 on logits; a wrong operator is off by far more than 1e-3.
LOGIT_TOLERANCE = 1e-3
# Below this share of equal labels a faster precision is not worth it, and the command says so.
WORTHWHILE_AGREEMENT = 0.98
_ERRORS_ONLY = 3


@dataclass(frozen=True, kw_only=True)
class ParityReport(Comparison):
    """Model and graph compared.

    Attributes:
        computed_by: what ran the graph: ``onnxruntime``, or ``torch`` for a precision that it has no kernels for.
        label_agreement_unrefined: share of pixels with equal labels, labels from the raw logits.
    """

    label_agreement_unrefined: float
    computed_by: Literal["onnxruntime", "torch"] = "onnxruntime"

    @property
    def doubt(self) -> str | None:
        """What speaks against a precision that is within its tolerance, or ``None``."""
        if self.label_agreement >= WORTHWHILE_AGREEMENT:
            return None
        return (
            f"{self.precision} changes {1 - self.label_agreement:.1%} of the labels (mIoU {self.mean_iou:.3f} to the "
            "model's masks); compare on pictures of your own (--pictures FOLDER), or take a wider precision"
        )

    def check(self) -> None:
        """Refuses a graph that computes something else.

        Raises:
            ParityError: a difference beyond tolerance, or values that are not finite.
        """
        if self.precision == "fp32":
            self._check_exact()
        self.check_errors("graph", "export it")

    def _check_exact(self) -> None:
        if not self.max_logit_difference <= LOGIT_TOLERANCE:
            raise ParityError(
                f"the exported graph does not compute the same as the model: logits differ by up to "
                f"{self.max_logit_difference:.2g}, at most {LOGIT_TOLERANCE:g} is allowed"
            )
        agreement = min(self.label_agreement, self.label_agreement_unrefined)
        if not agreement >= LABEL_TOLERANCE:
            raise ParityError(
                f"the exported graph does not label as the model does: {agreement:.4%} of the pixels agree, at least "
                f"{LABEL_TOLERANCE:.1%} must ({self.worst})",
                hint="a difference in labels alone comes from patches that look nearly alike; check on real pictures "
                "with --pictures FOLDER",
            )


@dataclass(frozen=True)
class _Scores:
    """Of one picture: logits ``[n, C]`` and refined probabilities ``[C, h, w]``."""

    logits: NDArray[np.float32]
    refined: NDArray[np.float32]


def measure_parity(
    model: SegmentationModel,
    frozen: FrozenModel,
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
    # Copies: the preprocessor fills the same buffer again.
    inputs = np.concatenate([prepare(frame, "bgr").copy() for _, frame in pictures])
    expected = _run_model(model, frozen, inputs)
    in_torch = frozen.precision in NOT_IN_ONNX_RUNTIME
    sizes = batch_sizes(frozen)
    found = _run_frozen(frozen, inputs) if in_torch else _run_graph(onnx_path, sizes, inputs)

    refined, plain = LabelAgreement(names), LabelAgreement(names)
    for (name, frame), *both in zip(pictures, expected, found, strict=True):
        height, width = frame.shape[:2]
        refined.add(name, *(upsample_labels(scores.refined, height, width) for scores in both))
        plain.add(name, *(upsample_labels(_planes(scores.logits, frozen.grid), height, width) for scores in both))
    return ParityReport(
        **figures([scores.logits for scores in expected], [s.logits for s in found], refined, frozen.precision),
        label_agreement_unrefined=plain.share,
        computed_by="torch" if in_torch else "onnxruntime",
    )


def _run_model(model: SegmentationModel, frozen: FrozenModel, inputs: NDArray[np.float32]) -> list[_Scores]:
    import torch

    from train.models.refinement import neighbours, refine

    out = []
    with torch.inference_mode():
        for batch in _batches(inputs, batch_sizes(frozen)):
            logits, features = model.score(torch.from_numpy(batch))
            probabilities, settings = logits.softmax(-1), frozen.refinement
            if settings is not None and features is not None:
                near = neighbours(features, settings.neighbours)
                probabilities = refine(probabilities, near, settings.rounds)
            for one, smooth in zip(logits.numpy(), probabilities.numpy(), strict=True):
                out.append(_Scores(one, _planes(smooth, frozen.grid)))
    return out[: len(inputs)]


def _run_graph(onnx_path: Path, sizes: tuple[int, ...], inputs: NDArray[np.float32]) -> list[_Scores]:
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(str(onnx_path), options, providers=["CPUExecutionProvider"])
        out = []
        for batch in _batches(inputs, sizes):
            refined, logits = session.run([PROBABILITIES, LOGITS], {IMAGE: batch})
            out += [_Scores(one, smooth) for one, smooth in zip(logits, refined, strict=True)]
    except Exception as error:  # ONNX Runtime raises a different class for every status code
        raise ExportError(f"ONNX Runtime {onnxruntime.__version__} does not run the exported graph: {error}") from error
    return out[: len(inputs)]


def _run_frozen(frozen: FrozenModel, inputs: NDArray[np.float32]) -> list[_Scores]:
    import torch

    out = []
    with torch.inference_mode():
        for batch in _batches(inputs, batch_sizes(frozen)):
            refined, logits = frozen(torch.from_numpy(batch))[:2]
            out += [_Scores(one, smooth) for one, smooth in zip(logits.numpy(), refined.numpy(), strict=True)]
    return out[: len(inputs)]


def batch_sizes(frozen: FrozenModel) -> tuple[int, ...]:
    """Numbers of pictures per call to compare with: the only one, or both ends of the range."""
    return (frozen.batch,) if frozen.smallest_batch is None else (frozen.smallest_batch, frozen.batch)


def _batches(inputs: NDArray[np.float32], sizes: tuple[int, ...]) -> list[NDArray[np.float32]]:
    """Full batches of all sizes in turn; the last one is filled up with its own last picture."""
    out: list[NDArray[np.float32]] = []
    start, size_of = 0, cycle(sizes)
    while start < len(inputs):
        size = next(size_of)
        batch = inputs[start : start + size]
        start += size
        missing = size - len(batch)
        out.append(np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)]) if missing else batch)
    return out


def _planes(rows: NDArray[np.float32], grid: tuple[int, int]) -> NDArray[np.float32]:
    """``[n, C]`` -> ``[C, h, w]``."""
    return np.ascontiguousarray(rows.T).reshape(-1, *grid)
