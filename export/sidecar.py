"""Fills the sidecar of an exported model: all that the run time must know about it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING

import ifseg_rt
from ifseg_rt.artifact.schema import IMAGE, LOGITS, NEIGHBOURS, PROBABILITIES
from ifseg_rt.artifact.sidecar import (
    OPEN_AXIS,
    SCHEMA_VERSION,
    Artifact,
    CategoryRecord,
    Parity,
    Preprocess,
    TensorSpec,
    file_record,
)
from ifseg_rt.categories import categories_of
from ifseg_rt.drawing.palette import color_for
from ifseg_rt.errors import VocabularyError

if TYPE_CHECKING:
    from export.frozen.head import FrozenModel
    from train.loaded_model import LoadedModel
    from train.models.base import FamilyConfig, SegmentationModel

_TOOLS = ("torch", "onnx", "onnxscript", "onnxruntime")

ProvenanceValue = str | int | float | None


def category_records(model: LoadedModel[SegmentationModel], names: Sequence[str] | None) -> tuple[CategoryRecord, ...]:
    """Categories in label order with their colours; a category without one gets the default palette's.

    Args:
        model: where ``names`` is ``None``, its vocabulary is read.
        names: one per category of the model, each exactly as it stands.

    Raises:
        UsageError: names are no list.
        VocabularyError: names are missing or not as many as the model has categories.
    """
    if names is None and not model.vocabulary.categories:
        raise VocabularyError("the model does not know the names of its categories", hint="give them: categories=[...]")
    wanted = model.vocabulary.categories if names is None else categories_of(names, "categories")
    records = tuple(CategoryRecord(c.name, c.synonyms, c.color or color_for(i)) for i, c in enumerate(wanted))
    expected = len(model.module.category_embedding)
    if len(records) != expected:
        raise VocabularyError(f"the model has {expected} categories, but {len(records)} names are given")
    return records


def preprocess_of(config: FamilyConfig, size: tuple[int, int]) -> Preprocess:
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
    model: SegmentationModel,
    frozen: FrozenModel,
    files: Iterable[Path],
    categories: tuple[CategoryRecord, ...],
    parity: Parity,
    provenance: Mapping[str, object],
) -> Artifact:
    """The sidecar's content, not sealed yet.

    Args:
        model: gives family, name and pre-processing.
        frozen: gives shapes and refinement settings.
        files: the written files, the graph first.
        categories: in label order.
        parity: what was measured.
        provenance: anything known of where the weights come from.
    """
    (height, width), n = frozen.grid, frozen.patches
    batch = frozen.batch if frozen.smallest_batch is None else OPEN_AXIS
    classes = len(categories)
    shapes = {PROBABILITIES: (batch, classes, height, width), LOGITS: (batch, n, classes)}
    outputs = [TensorSpec(name, "float32", shape) for name, shape in shapes.items()]
    if frozen.refinement is not None:
        outputs.append(TensorSpec(NEIGHBOURS, "int32", (batch, n, frozen.refinement.max_neighbours)))
    return Artifact(
        schema_version=SCHEMA_VERSION,
        kind="ifseg-rt-artifact",
        method=model.method,
        name=model.config.name,
        files=tuple(file_record(path) for path in files),
        categories=categories,
        preprocess=preprocess_of(model.config, frozen.size),
        batch=frozen.batch,
        smallest_batch=frozen.smallest_batch,
        grid=frozen.grid,
        precision=frozen.precision,
        inputs=(TensorSpec(IMAGE, "float32", (batch, 3, *frozen.size)),),
        outputs=tuple(outputs),
        refinement=frozen.refinement,
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
