"""What can be baked into a graph, and which settings are invalid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ifseg_rt.cli.values import check_batch
from ifseg_rt.errors import UsageError

if TYPE_CHECKING:
    from export.frozen.biases import BiasForm
    from export.frozen.precision import AttentionForm, Precision

MOST_ROUNDS = 200


@dataclass(frozen=True)
class ExportSettings:
    """What is baked into a graph.

    Attributes:
        size: input height and width in pixels.
        batch: pictures per call, at most; the run time takes single ones.
        smallest_batch: the fewest, where any number from there on shall do; ``None`` for exactly ``batch``.
        neighbours: patches that the refinement averages.
        rounds: how often it averages.
        opset: ONNX operator set; ``None`` for the default.
        biases: position biases as factors or as tables (see :mod:`export.frozen.biases`).
        precision: of weights and matrix products (see :mod:`export.frozen.precision`).
        attention: as plain operators, which is what ``None`` means, or as one fused operator
            (:mod:`export.frozen.precision`), which only ONNX Runtime 1.23 and later know.
        calibration: folder of pictures that the ranges of int8_fp16 are taken from; ``None`` for synthetic ones.
        pictures: folder of pictures for the parity check; ``None`` for the shipped ones.
    """

    size: tuple[int, int] = (512, 512)
    batch: int = 1
    neighbours: int = 3
    rounds: int = 25
    opset: int | None = None
    biases: BiasForm = "auto"
    precision: Precision = "fp32"
    pictures: Path | None = None
    attention: AttentionForm | None = None
    calibration: Path | None = None
    smallest_batch: int | None = None

    @property
    def attention_form(self) -> AttentionForm:
        """How attention is written."""
        return self.attention or "plain"

    def check(self) -> None:
        """Refuses invalid settings.

        Raises:
            UsageError: a number is out of range.
        """
        from export.frozen.precision import PRECISIONS
        from export.graph.writer import BF16_OPSET, FUSED_OPSET, OPSETS

        if min(self.size) < 1:
            raise UsageError(f"the input size must be positive, found {self.size[0]} x {self.size[1]}")
        check_batch(self.smallest_batch, self.batch)
        if not 0 <= self.rounds <= MOST_ROUNDS:
            raise UsageError(f"refinement rounds must be 0 to {MOST_ROUNDS}, found {self.rounds}")
        if self.opset is not None and self.opset not in OPSETS:
            raise UsageError(f"the operator set must be one of {', '.join(map(str, OPSETS))}, found {self.opset}")
        if self.precision not in PRECISIONS:
            raise UsageError(f"the precision must be one of {', '.join(PRECISIONS)}, found {self.precision!r}")
        if self.precision == "bf16" and self.opset not in (None, BF16_OPSET):
            raise UsageError(f"bf16 needs operator set {BF16_OPSET}, found {self.opset}")
        if self.calibration is not None and self.precision != "int8_fp16":
            raise UsageError(
                f"calibration pictures are for static integers, found precision {self.precision}",
                hint="leave --calibration out, or use to_trt --precision int8 (to_onnx --precision int8_fp16)",
            )
        if self.attention_form == "fused":
            if self.precision not in ("fp32", "int8"):
                raise UsageError(f"fused attention is for ONNX Runtime on a CPU: fp32 or int8, found {self.precision}")
            if self.opset not in (None, FUSED_OPSET):
                raise UsageError(f"fused attention needs operator set {FUSED_OPSET}, found {self.opset}")
