"""The module that is exported with given settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from export.frozen.precision import Precision
    from export.frozen.segmenter import FrozenSegmenter
    from export.settings import ExportSettings
    from train.models.ofa.model import IFSegModel


def freeze_model(
    model: IFSegModel,
    settings: ExportSettings,
    *,
    precision: Precision | None = None,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> FrozenSegmenter:
    """The module that is exported with ``settings``, or the same in another precision.

    Raises:
        UsageError, VocabularyError: see :class:`export.frozen.segmenter.FrozenSegmenter`.
        SourceError: the calibration pictures cannot be read.
    """
    from export.frozen.segmenter import FrozenSegmenter

    frozen = FrozenSegmenter(
        model,
        settings.size,
        batch=settings.batch,
        smallest_batch=settings.smallest_batch,
        neighbours=settings.neighbours,
        rounds=settings.rounds,
        biases=settings.biases,
        precision=precision or settings.precision,
        attention="plain" if precision is not None else settings.attention_form,
    )
    if frozen.precision == "int8_fp16":
        from export.calibration import measure_ranges

        on_stage("measuring the ranges of activations")
        frozen.input_ranges = measure_ranges(model, settings.size, settings.calibration)
    return frozen
