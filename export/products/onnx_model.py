"""From a model to a checked artifact: freeze, write, compare, describe, and only then put in place."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ifseg_rt.artifact.sidecar import Artifact, read_artifact, sidecar_path, write_artifact
from ifseg_rt.cli.values import check_batch
from ifseg_rt.errors import ExportError, UsageError

if TYPE_CHECKING:
    from export.frozen.biases import BiasForm
    from export.frozen.precision import AttentionForm, Precision
    from export.frozen.segmenter import FrozenSegmenter
    from export.parity.graph import ParityReport
    from train.models.ofa.model import IFSegModel

MOST_ROUNDS = 200
_ONNX_SUFFIX = ".onnx"


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
        attention: as plain operators or as one fused operator (:mod:`export.frozen.precision`); ``None``: fused where
            the precision is meant for ONNX Runtime on a CPU alone (int8), plain otherwise.
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
        return self.attention or ("fused" if self.precision == "int8" and self.opset is None else "plain")

    def check(self) -> None:
        """Refuses settings that cannot be meant.

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
    if not path.parent.is_dir():
        raise UsageError(f"the folder {path.parent} for the output does not exist")
    for target in (path, sidecar_path(path)):
        if target.is_dir():
            raise UsageError(f"{target} is a folder; expected the name of a file to write")


def export_model(
    model: IFSegModel,
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
        UsageError: settings or path cannot be meant, or the grid does not fit the model.
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
    if model.training or model.prompt_ids.device.type != "cpu":
        model = copy.deepcopy(model).cpu().eval()
    records = category_records(model, categories)
    on_stage(f"freezing {model.config.name} for {settings.size[0]} x {settings.size[1]}, {len(records)} categories")
    frozen = freeze_model(model, settings, on_stage=on_stage)
    opset = settings.opset or default_opset(settings.precision, settings.attention_form)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
            # The final names already here: the graph refers to its data file by name.
            draft = Path(scratch) / path.name
            on_stage("writing the graph")
            files = write_onnx(frozen, draft, opset=opset)
            on_stage(f"comparing it with the model on {len(pictures)} pictures")
            names = [record.name for record in records]
            report = measure_parity(model, frozen, draft, preprocess_of(model.config, settings.size), pictures, names)
            report.check()
            known = {**getattr(model, "provenance", {}), **(provenance or {})}
            write_artifact(describe(model, frozen, files, records, report.record(), known), sidecar_path(draft))
            artifact = read_artifact(draft)
            # The sidecar last: until it arrives, a reader is refused by the hashes and never sees a wrong pair.
            for file in (*files[::-1], sidecar_path(draft)):
                file.replace(path.with_name(file.name))
    except OSError as error:
        raise ExportError(f"cannot write {path}: {error.strerror or error}") from error
    return Exported(path, artifact, report)


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
        from export.graph.static_int8 import measure_ranges

        on_stage("measuring the ranges of activations")
        frozen.input_ranges = measure_ranges(model, settings.size, settings.calibration)
    return frozen
