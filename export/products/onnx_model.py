"""From a model to a checked artifact: freeze, write, compare, describe, and only then put in place."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from export.freeze_model import freeze_model
from export.products.places import check_places, moved_into, refuse_foreign_json, scratch_beside
from ifseg_rt.artifact.sidecar import KIND, Artifact, read_artifact, sidecar_path, write_artifact
from ifseg_rt.errors import UsageError

if TYPE_CHECKING:
    from export.parity.graph import ParityReport
    from export.settings import ExportSettings
    from train.loaded_model import LoadedModel
    from train.models.base import SegmentationModel

_ONNX_SUFFIX = ".onnx"
DATA_SUFFIX = ".data"  # of the file of weights beside a large model


@dataclass(frozen=True)
class Exported:
    """Result of :func:`export_model`."""

    path: Path
    artifact: Artifact
    report: ParityReport


def check_target(path: Path, source: Path | None = None) -> None:
    """Refuses a place that cannot become an artifact, before minutes of work.

    Args:
        path: the ``.onnx`` file to write.
        source: what it is made from, which is never overwritten.

    Raises:
        UsageError: not a ``.onnx`` name, in a folder that does not exist, or where something else lies: a link, the
            source, a ``.json`` that is not the sidecar of a model.
    """
    if path.suffix != _ONNX_SUFFIX:
        raise UsageError(f"the output must end in {_ONNX_SUFFIX}, found {path.name!r}")
    sidecar = sidecar_path(path)
    check_places([path, sidecar, path.with_name(path.name + DATA_SUFFIX)], source)
    refuse_foreign_json(sidecar, KIND)


def on_cpu(model: SegmentationModel) -> SegmentationModel:
    """The model in evaluation mode on the CPU: itself where it is so already, else a copy."""
    if model.training or model.device.type != "cpu":
        return copy.deepcopy(model).cpu().eval()
    return model


def export_model(
    model: LoadedModel[SegmentationModel],
    path: Path,
    settings: ExportSettings,
    *,
    categories: Sequence[str] | None = None,
    provenance: Mapping[str, object] | None = None,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> Exported:
    """Writes ``path`` and its sidecar; on any failure nothing is written and nothing that existed is touched.

    Args:
        model: with its vocabulary set; it is not changed.
        path: the ``.onnx`` file to write.
        settings: what to bake in.
        categories: names, where the model carries none.
        provenance: added to the model's own.
        on_stage: told what is being done.

    Raises:
        UsageError: invalid settings or path, or the grid does not fit the model.
        VocabularyError: no categories, or names that do not fit them.
        SourceError: the parity pictures cannot be read.
        ExportError: the graph cannot be made, or does not compute the same as the model.
        IfsegError: the disk is full, or the place cannot be written to.
    """
    settings.check()
    check_target(path)
    from export.graph.writer import default_opset, write_onnx
    from export.parity.graph import measure_parity
    from export.pictures import parity_pictures
    from export.sidecar import category_records, describe, preprocess_of

    pictures = parity_pictures(settings.pictures)
    module = on_cpu(model.module)
    records = category_records(model, categories)
    on_stage(f"freezing {module.config.name} for {settings.size[0]} x {settings.size[1]}, {len(records)} categories")
    frozen = freeze_model(module, settings, on_stage=on_stage)
    opset = settings.opset or default_opset(settings.precision, settings.attention_form)
    with scratch_beside(path) as scratch:
        # The final names already here: the graph refers to its data file by name.
        draft = scratch / path.name
        on_stage("writing the graph")
        files = write_onnx(frozen, draft, opset=opset)
        on_stage(f"comparing it with the model on {len(pictures)} pictures")
        names = [record.name for record in records]
        report = measure_parity(module, frozen, draft, preprocess_of(module.config, settings.size), pictures, names)
        report.check()
        known = {**model.provenance, **(provenance or {})}
        described = describe(module, frozen, files, records, report.parity, known, opset=opset)
        write_artifact(described, sidecar_path(draft))
        artifact = read_artifact(draft)
        # The sidecar last: until it arrives, a reader is refused by the hashes and never sees a wrong pair.
        moved_into(path.parent, [*files[::-1], sidecar_path(draft)])
    return Exported(path, artifact, report)
