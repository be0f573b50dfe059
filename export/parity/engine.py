"""Does the engine compute what the model computes? Measured where a GPU can run it, through the public run time.

From a checkpoint the reference is the float32 module in PyTorch; from an ONNX model it is that model in ONNX Runtime on
the CPU. Together with the comparison that every exported model carries this closes the chain PyTorch, ONNX, engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from export.parity.agreement import LabelAgreement
from export.parity.graph import (
    DECIDED_MARGIN,
    LABEL_TOLERANCE,
    RELATIVE_TOLERANCE,
    ParityError,
)
from export.parity.logit_errors import LogitErrors
from ifseg_rt.artifact.sidecar import Parity, Preprocess
from ifseg_rt.host.preprocess import Preprocessor
from ifseg_rt.machine import Machine
from ifseg_rt.segmenter import Segmenter
from ifseg_rt.tensorrt.compatibility import mismatches
from ifseg_rt.tensorrt.installed import TensorRt
from ifseg_rt.tensorrt.schema import EngineArtifact, EngineParity
from ifseg_rt.upsampling.labels import upsample_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from export.frozen.head import FrozenModel
    from export.pictures import Picture

# Probabilities below it say nothing: float32 softmax has rounded them.
_SMALLEST = 1e-12
# ONNX Runtime's CPU provider has no bfloat16 convolution.
_NOT_IN_ONNX_RUNTIME = frozenset({"bf16"})
# A precision of another tool's making: as wide as the widest that is known.
_OTHER_TOLERANCE = max(RELATIVE_TOLERANCE.values())


@dataclass(frozen=True)
class Scores:
    """Of one picture: log-probabilities ``[n, C]`` before the refinement, and labels H x W after it."""

    log_probabilities: NDArray[np.float32]
    labels: NDArray[np.uint8] | NDArray[np.uint16]


Runner = Callable[["Picture"], Scores]


@dataclass(frozen=True)
class EngineReport:
    """Engine and reference compared; the logits as log-probabilities, which differ from them by a constant per patch.

    Attributes:
        reference: what the engine was compared with.
        precision: of the engine's graph.
        device: the GPU.
        max_logit_difference: largest absolute difference over all pictures, patches and categories.
        relative_logit_error: root mean square of the difference over the spread of the logits.
        decided_agreement: share of equal labels among patches whose label no tolerated error can change.
        label_agreement: share of pixels with equal labels, refined.
        worst_picture: the picture with the smallest agreement, and that agreement.
        worst_class: the category whose pixels agree least, and that agreement.
        pictures: how many were compared.
        mean_iou: mIoU of the engine's masks with the reference's as the truth.
    """

    reference: Literal["torch", "onnx"]
    precision: str
    device: str
    max_logit_difference: float
    relative_logit_error: float
    decided_agreement: float
    label_agreement: float
    worst_picture: tuple[str, float]
    worst_class: tuple[str, float]
    pictures: int
    mean_iou: float = 1.0

    def record(self) -> EngineParity:
        """What the sidecar keeps."""
        measured = Parity(self.max_logit_difference, self.label_agreement, self.pictures)
        return EngineParity(measured=measured, device=self.device)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def check(self) -> None:
        """Refuses an engine that computes something else.

        Raises:
            ParityError: a difference beyond tolerance, or values that are not finite.
        """
        tolerance = RELATIVE_TOLERANCE.get(self.precision, _OTHER_TOLERANCE)
        where = f"(worst: picture {self.worst_picture[0]}, class {self.worst_class[0]!r})"
        if not self.relative_logit_error <= tolerance:
            raise ParityError(
                f"the {self.precision} engine does not compute the same as the model on {self.device}: the logits are "
                f"off by {self.relative_logit_error:.2%} of their spread, at most {tolerance:.1%} is allowed {where}",
                hint=None if self.precision == "fp32" else "build it with --precision fp32",
            )
        if not self.decided_agreement >= LABEL_TOLERANCE:
            raise ParityError(
                f"the {self.precision} engine does not label as the model does on {self.device}: of the patches with a "
                f"clear winner {self.decided_agreement:.3%} agree, at least {LABEL_TOLERANCE:.1%} must {where}"
            )


def why_not_compared(
    engine: EngineArtifact, tensorrt: TensorRt, machine: Machine, *, reference: Literal["torch", "onnx"]
) -> str | None:
    """Why this engine cannot be compared here, in words for the report, or ``None``."""
    if machine.gpu is None:
        return f"no GPU here can run it: {machine.reason}"
    unfit = mismatches(engine, tensorrt, machine, machine.gpu)
    if unfit:
        return f"the GPU here cannot run it: {unfit[0]}"
    if not engine.model.takes_single_frames:
        return f"it takes {engine.model.batch} pictures per call, the run time single ones"
    if reference == "onnx" and engine.model.precision in _NOT_IN_ONNX_RUNTIME:
        return f"ONNX Runtime does not run {engine.model.precision} on the CPU; build it from the checkpoint to compare"
    return None


def compare_engine(
    engine: Runner,
    reference: Runner,
    pictures: Sequence[Picture],
    names: Sequence[str],
    *,
    kind: Literal["torch", "onnx"],
    precision: str,
    device: str,
) -> EngineReport:
    """Runs all pictures through the reference, then through the engine, and compares.

    Args:
        engine: runs the engine.
        reference: runs what it is compared with.
        pictures: at least one.
        names: category names.
        kind: what the reference is.
        precision: of the engine's graph.
        device: the GPU's name.
    """
    expected = [reference(picture) for picture in pictures]
    found = [engine(picture) for picture in pictures]
    errors = LogitErrors(
        np.stack([scores.log_probabilities for scores in expected]),
        np.stack([scores.log_probabilities for scores in found]),
    )
    labels = LabelAgreement(names)
    for (name, _), first, second in zip(pictures, expected, found, strict=True):
        labels.add(name, first.labels, second.labels)
    tolerance = RELATIVE_TOLERANCE.get(precision, _OTHER_TOLERANCE)
    return EngineReport(
        reference=kind,
        precision=precision,
        device=device,
        max_logit_difference=errors.largest(),
        relative_logit_error=errors.relative(),
        decided_agreement=errors.decided_agreement(DECIDED_MARGIN * tolerance),
        label_agreement=labels.share,
        worst_picture=labels.worst_picture,
        worst_class=labels.worst_class,
        pictures=len(pictures),
        mean_iou=labels.mean_iou,
    )


@contextmanager
def run_model(path: Path, *, device: str = "auto") -> Iterator[Runner]:
    """Runs an ONNX model or an engine through :class:`ifseg_rt.Segmenter`."""
    with Segmenter(path, refine=False, device=device) as plain, Segmenter(path, device=device) as refined:

        def run(picture: Picture) -> Scores:
            planes = np.asarray(plain(picture[1]).probabilities, dtype=np.float32)
            rows = planes.reshape(len(planes), -1).T
            return Scores(np.log(np.maximum(rows, _SMALLEST)), refined(picture[1]).labels)

        yield run


def run_module(module: FrozenModel, preprocess: Preprocess) -> Runner:
    """Runs the frozen module in PyTorch, picture by picture."""
    import torch

    prepare = Preprocessor(preprocess)

    def run(picture: Picture) -> Scores:
        frame = picture[1]
        image = torch.from_numpy(prepare(frame, "bgr"))
        with torch.inference_mode():
            probabilities, logits = module(image)[:2]
        rows = logits[0].float().softmax(-1).clamp(min=_SMALLEST).log().numpy()
        return Scores(rows, upsample_labels(probabilities[0].numpy(), *frame.shape[:2]))

    return run
