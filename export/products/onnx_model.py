"""From a model to a checked artifact: freeze, write, compare, describe, and only then put in place."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from export.freeze_model import freeze_model
from ifseg_rt.artifact.sidecar import Artifact, read_artifact, sidecar_path, write_artifact
from ifseg_rt.errors import ExportError, UsageError

if TYPE_CHECKING:
    from export.parity.graph import ParityReport
    from export.settings import ExportSettings
    from train.loaded_model import LoadedModel
    from train.models.base import SegmentationModel

_ONNX_SUFFIX = ".onnx"


@dataclass(frozen=True)
class Exported:
    """Result of :func:`export_model`."""

    path: Path
    artifact: Artifact
    report: ParityReport


def check_target(path: Path) -> None:
    """Refuses a place that cannot become an artifact, before minutes of work.

    Raises:
        UsageError: not a ``.onnx`` name, or in a folder that does not exist.
    """
    if path.suffix != _ONNX_SUFFIX:
        raise UsageError(f"the output must end in {_ONNX_SUFFIX}, found {path.name!r}")
    try:
        if not path.parent.is_dir():
            raise UsageError(f"the folder {path.parent} for the output does not exist")
        for target in (path, sidecar_path(path)):
            if target.is_dir():
                raise UsageError(f"{target} is a folder; expected the name of a file to write")
    except OSError as error:  # a name that is too long, a folder without rights
        raise UsageError(f"cannot write {str(path)[:300]}: {error.strerror}") from error


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
        ExportError: the graph cannot be written, or does not compute the same as the model.
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
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
            # The final names already here: the graph refers to its data file by name.
            draft = Path(scratch) / path.name
            on_stage("writing the graph")
            files = write_onnx(frozen, draft, opset=opset)
            on_stage(f"comparing it with the model on {len(pictures)} pictures")
            names = [record.name for record in records]
            report = measure_parity(module, frozen, draft, preprocess_of(module.config, settings.size), pictures, names)
            report.check()
            known = {**model.provenance, **(provenance or {})}
            write_artifact(describe(module, frozen, files, records, report.parity, known), sidecar_path(draft))
            artifact = read_artifact(draft)
            # The sidecar last: until it arrives, a reader is refused by the hashes and never sees a wrong pair.
            for file in (*files[::-1], sidecar_path(draft)):
                file.replace(path.with_name(file.name))
    except OSError as error:
        raise ExportError(f"cannot write {path}: {error.strerror or error}") from error
    return Exported(path, artifact, report)
