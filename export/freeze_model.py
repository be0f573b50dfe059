"""The module that is exported with given settings: the one place that knows which family is frozen by what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ifseg_rt.errors import UsageError

if TYPE_CHECKING:
    from export.frozen.head import FrozenModel
    from export.frozen.precision import Precision
    from export.settings import ExportSettings
    from train.models.base import SegmentationModel


def freeze_model(
    model: SegmentationModel,
    settings: ExportSettings,
    *,
    precision: Precision | None = None,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> FrozenModel:
    """The module that is exported with ``settings``, or the same in another precision.

    Raises:
        UsageError: settings that do not fit the model, or a family that cannot be exported.
        VocabularyError: the model has no categories.
        SourceError: the calibration pictures cannot be read.
    """
    if precision is not None:
        settings = replace(settings, precision=precision, attention="plain")
    frozen = _frozen(model, settings)
    if frozen.precision == "int8_fp16":
        from export.calibration import measure_ranges
        from export.sidecar import preprocess_of

        on_stage("measuring the ranges of activations")
        # As tables the biases are ready; what comes after the network is left out.
        bare = replace(settings, batch=1, smallest_batch=None, neighbours=1, rounds=0, biases="tables")
        wide = _frozen(model, replace(bare, precision="fp32", attention="plain"))
        frozen.input_ranges = measure_ranges(wide, preprocess_of(model.config, settings.size), settings.calibration)
    return frozen


def _frozen(model: SegmentationModel, settings: ExportSettings) -> FrozenModel:
    from export.frozen.segmenter import FrozenSegmenter
    from train.models.ofa.model import IFSegModel

    if isinstance(model, IFSegModel):
        return FrozenSegmenter(
            model,
            settings.size,
            batch=settings.batch,
            smallest_batch=settings.smallest_batch,
            neighbours=settings.neighbours,
            rounds=settings.rounds,
            biases=settings.biases,
            precision=settings.precision,
            attention=settings.attention_form,
        )
    raise UsageError(f"models of the family {model.method!r} cannot be exported")
