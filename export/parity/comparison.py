"""What every comparison says, of a graph or of an engine: figures, their tolerances, and when they are too bad."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from export.parity.logit_errors import LogitErrors
from ifseg_rt.artifact.sidecar import Parity
from ifseg_rt.errors import ExportError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from export.parity.agreement import LabelAgreement

LABEL_TOLERANCE = 0.999
# Low precision: root mean square of the error, relative to the spread of the logits. Seen with micro on real and
# synthetic pictures: 0.2% (fp16), 5% (bf16, which carries 8 bits), 0.6% (int8; 4% with a network as small as mini); an
# operator gone wrong gives tens of percent.
RELATIVE_TOLERANCE: dict[str, float] = {"fp32": 1e-3, "fp16": 0.02, "bf16": 0.15, "int8": 0.1, "int8_fp16": 0.15}
# A precision of another tool's making: as wide as the widest that is known.
_OTHER_TOLERANCE = max(RELATIVE_TOLERANCE.values())
# A patch is decided when its best category leads by more than this many times the tolerated error: such a patch has no
# reason to change its label.
DECIDED_MARGIN = 4
# ONNX Runtime's CPU provider has no bfloat16 convolution.
NOT_IN_ONNX_RUNTIME = frozenset({"bf16"})


class ParityError(ExportError):
    """A graph or an engine computes something else than the model."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two ways of computing the same labels, compared at the resolution of the pictures.

    Attributes:
        precision: of what is compared; the model always computes in float32.
        max_logit_difference: largest absolute difference over all pictures, patches and categories.
        relative_logit_error: root mean square of the difference over the spread of the logits.
        decided_agreement: share of equal labels among patches whose label no tolerated error can change.
        label_agreement: share of pixels with equal labels, refined where the model is, over all pictures.
        worst_picture: the picture with the smallest agreement, and that agreement.
        worst_class: the category whose pixels agree least, and that agreement.
        pictures: how many were compared.
        mean_iou: mIoU of the masks with the reference's as the truth: what a precision costs in the measure of
            segmentation, where nothing is annotated.
    """

    max_logit_difference: float
    label_agreement: float
    worst_picture: tuple[str, float]
    worst_class: tuple[str, float]
    pictures: int
    precision: str = "fp32"
    relative_logit_error: float = 0.0
    decided_agreement: float = 1.0
    mean_iou: float = 1.0

    @property
    def parity(self) -> Parity:
        """What sidecars keep."""
        return Parity(self.max_logit_difference, self.label_agreement, self.pictures)

    @property
    def worst(self) -> str:
        """Where labels agree least, in words."""
        return f"worst: picture {self.worst_picture[0]}, class {self.worst_class[0]!r}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def check_errors(self, subject: str, remedy: str, where: str = "") -> None:
        """Refuses logits beyond the precision's tolerance, and changed labels of patches with a clear winner.

        Args:
            subject: what is compared: ``"graph"``.
            remedy: how to have it in float32: ``"export it"``.
            where: where it ran, with a blank before it.

        Raises:
            ParityError: a difference beyond tolerance, or values that are not finite.
        """
        tolerance = tolerance_of(self.precision)
        if not self.relative_logit_error <= tolerance:
            raise ParityError(
                f"the {self.precision} {subject} does not compute the same as the model{where}: the logits are off by "
                f"{self.relative_logit_error:.2%} of their spread, at most {tolerance:.1%} is allowed ({self.worst})",
                hint=None if self.precision == "fp32" else f"{remedy} with --precision fp32",
            )
        if not self.decided_agreement >= LABEL_TOLERANCE:
            raise ParityError(
                f"the {self.precision} {subject} does not label as the model does{where}: of the patches with a clear "
                f"winner {self.decided_agreement:.3%} agree, at least {LABEL_TOLERANCE:.1%} must ({self.worst})"
            )


def tolerance_of(precision: str) -> float:
    """Relative logit error that a precision is allowed."""
    return RELATIVE_TOLERANCE.get(precision, _OTHER_TOLERANCE)


def figures(
    expected: Sequence[NDArray[np.float32]],
    found: Sequence[NDArray[np.float32]],
    labels: LabelAgreement,
    precision: str,
) -> dict[str, Any]:
    """Fields of a :class:`Comparison`, from logits ``[n, C]`` per picture and from counted labels."""
    errors = LogitErrors(np.stack(expected), np.stack(found))
    return {
        "max_logit_difference": errors.largest(),
        "label_agreement": labels.share,
        "worst_picture": labels.worst_picture,
        "worst_class": labels.worst_class,
        "pictures": len(expected),
        "precision": precision,
        "relative_logit_error": errors.relative(),
        "decided_agreement": errors.decided_agreement(DECIDED_MARGIN * tolerance_of(precision)),
        "mean_iou": labels.mean_iou,
    }
