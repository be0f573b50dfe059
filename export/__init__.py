"""Export of a model with its vocabulary baked in. Importing this package loads neither torch nor onnx."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from export.frozen.biases import BiasForm
    from export.frozen.precision import AttentionForm, Precision
    from ifseg_rt.artifact.sidecar import Artifact
    from train.loaded_model import LoadedModel
    from train.models.base import SegmentationModel

__all__ = ["export_onnx"]


def export_onnx(
    model: LoadedModel[SegmentationModel] | SegmentationModel,
    path: str | Path,
    size: tuple[int, int] = (512, 512),
    batch: int | tuple[int, int] = 1,
    *,
    categories: Sequence[str] | None = None,
    neighbours: int = 3,
    rounds: int = 25,
    pictures: str | Path | None = None,
    opset: int | None = None,
    biases: BiasForm = "auto",
    precision: Precision = "fp32",
    attention: AttentionForm | None = None,
) -> Artifact:
    """Writes ``model.onnx`` and its sidecar ``model.json``, checked against the model.

    Args:
        model: with its vocabulary set, as ``train.load_model`` returns it, or its module alone; it is not changed.
        path: the ``.onnx`` file to write; the sidecar lies beside it.
        size: input height and width in pixels.
        batch: pictures per call, or the smallest and the largest number of them; ``ifseg_rt.Segmenter`` takes single
            ones.
        categories: category names, where the model carries none.
        neighbours: patches that the refinement averages (spec 9).
        rounds: how often it averages.
        pictures: folder of pictures for the parity check; ``None`` for the shipped ones.
        opset: ONNX operator set, 18, 20, 22 or 23; ``None`` for the lowest that serves the precision.
        biases: position biases as small ``"factors"`` that a run time folds when it opens the model (``"auto"``), or
            as ``"tables"``, twice the file, for builders that do not fold.
        precision: ``"fp32"``; ``"int8"`` for CPUs; ``"fp16"``, ``"bf16"`` or ``"int8_fp16"`` for GPUs. Inputs and
            outputs stay float32.
        attention: ``"plain"`` operators (``None``), or ``"fused"``, faster in ONNX Runtime on a CPU, from 1.23 on, and
            unknown to others.

    Returns:
        The sealed sidecar.

    Raises:
        UsageError: invalid settings or path, or the size does not fit the model.
        VocabularyError: no categories, or names that do not fit them.
        SourceError: the parity pictures cannot be read.
        ExportError: the graph cannot be written, or does not compute the same as the model.

    Example:
        >>> from train import load_model
        >>> artifact = export_onnx(load_model("micro", "sky, road, tree"), "model.onnx", size=(384, 512))
    """
    from export.products.onnx_model import export_model
    from export.settings import ExportSettings
    from train.loaded_model import LoadedModel

    smallest, largest = (None, batch) if isinstance(batch, int) else batch
    smallest = None if smallest == largest else smallest  # (3, 3) leaves nothing open
    settings = ExportSettings(
        size=size,
        batch=largest,
        smallest_batch=smallest,
        neighbours=neighbours,
        rounds=rounds,
        opset=opset,
        biases=biases,
        precision=precision,
        attention=attention,
        pictures=None if pictures is None else Path(pictures),
    )
    loaded = model if isinstance(model, LoadedModel) else LoadedModel(model)
    return export_model(loaded, Path(path), settings, categories=categories).artifact
