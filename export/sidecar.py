"""Fills the sidecar of an exported model: all that the run time must know about it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ifseg_rt
from ifseg_rt.artifact.schema import IMAGE, LOGITS, NEIGHBOURS, PROBABILITIES
from ifseg_rt.artifact.sidecar import (
    OPEN_AXIS,
    SCHEMA_VERSION,
    Artifact,
    CategoryRecord,
    Parity,
    Preprocess,
    Refinement,
    TensorSpec,
    file_record,
)
from ifseg_rt.categories import categories_of
from ifseg_rt.drawing.palette import color_for
from ifseg_rt.errors import VocabularyError

if TYPE_CHECKING:
    from export.frozen.segmenter import FrozenSegmenter
    from train.models.ofa.config import ModelConfig
    from train.models.ofa.model import IFSegModel

_TOOLS = ("torch", "onnx", "onnxscript", "onnxruntime")

ProvenanceValue = str | int | float | None


def category_records(model: IFSegModel, names: Sequence[str] | None) -> tuple[CategoryRecord, ...]:
    """Categories in label order with their colours; a category without one gets the default palette's.

    Args:
        model: where ``names`` is ``None``, its attribute ``vocabulary`` (as ``load_model`` sets it) is read.
        names: one per category of the model, each exactly as it stands.

    Raises:
        UsageError: names are no list.
        VocabularyError: names are missing or not as many as the model has categories.
    """
    vocabulary: Any = getattr(model, "vocabulary", None)
    if names is None and vocabulary is None:
        raise VocabularyError("the model does not know the names of its categories", hint="give them: categories=[...]")
    wanted = vocabulary.categories if names is None else categories_of(names, "categories")
    records = tuple(CategoryRecord(c.name, c.synonyms, c.color or color_for(i)) for i, c in enumerate(wanted))
    expected = len(model.category_embedding)
    if len(records) != expected:
        raise VocabularyError(f"the model has {expected} categories, but {len(records)} names are given")
    return records


def preprocess_of(config: ModelConfig, size: tuple[int, int]) -> Preprocess:
    """Pre-processing of one input size as data (spec 4.1)."""
    return Preprocess(
        height=size[0],
        width=size[1],
        color="rgb",
        resize="stretch",
        interpolation="bilinear",
        mean=config.image_mean,
        std=config.image_std,
    )


def describe(
    model: IFSegModel,
    frozen: FrozenSegmenter,
    files: Iterable[Path],
    categories: tuple[CategoryRecord, ...],
    parity: Parity,
    provenance: Mapping[str, object],
) -> Artifact:
    """The sidecar's content, not sealed yet.

    Args:
        model: gives name and pre-processing.
        frozen: gives shapes and refinement settings.
        files: the written files, the graph first.
        categories: in label order.
        parity: what was measured.
        provenance: anything known of where the weights come from.
    """
    (height, width), n = frozen.grid, frozen.patches
    batch = frozen.batch if frozen.smallest_batch is None else OPEN_AXIS
    classes = len(categories)
    return Artifact(
        schema_version=SCHEMA_VERSION,
        kind="ifseg-rt-artifact",
        method="ifseg",
        name=model.config.name,
        files=tuple(file_record(path) for path in files),
        categories=categories,
        preprocess=preprocess_of(model.config, frozen.size),
        batch=frozen.batch,
        smallest_batch=frozen.smallest_batch,
        grid=frozen.grid,
        precision=frozen.precision,
        inputs=(TensorSpec(IMAGE, "float32", (batch, 3, *frozen.size)),),
        outputs=(
            TensorSpec(PROBABILITIES, "float32", (batch, classes, height, width)),
            TensorSpec(LOGITS, "float32", (batch, n, classes)),
            TensorSpec(NEIGHBOURS, "int32", (batch, n, frozen.max_neighbours)),
        ),
        refinement=Refinement(frozen.neighbours, frozen.rounds, frozen.max_neighbours),
        provenance={str(key): _plain(value) for key, value in provenance.items()},
        tools={**{name: _version(name) for name in _TOOLS}, "ifseg-rt": ifseg_rt.__version__},
        parity=parity,
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # ONNX Runtime's package for GPUs has another name than its module
        return str(import_module(package).__version__)


def _plain(value: object) -> ProvenanceValue:
    if isinstance(value, bool):
        return int(value)
    if value is None or isinstance(value, str | int | float):
        return value
    return json.dumps(value, default=str, sort_keys=True)
