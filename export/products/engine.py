"""From a checkpoint or an exported model to an engine: built, compared, described, and only then put in place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from export.freeze_model import freeze_model
from export.parity.comparison import ParityError
from export.pictures import parity_pictures
from export.products.onnx_model import check_target, export_model, on_cpu
from export.products.places import check_places, refuse_foreign_json, scratch_beside
from export.settings import ExportSettings
from ifseg_rt.artifact.file_kinds import ENGINE_SUFFIXES
from ifseg_rt.artifact.sidecar import read_artifact, sidecar_path
from ifseg_rt.errors import IfsegError, UsageError
from ifseg_rt.machine import Machine
from ifseg_rt.tensorrt.building.progress import BuildProgress
from ifseg_rt.tensorrt.building.settings import BuildSettings
from ifseg_rt.tensorrt.building.write import move_into_place, write_engine
from ifseg_rt.tensorrt.installed import TensorRt
from ifseg_rt.tensorrt.schema import ENGINE_KIND, EngineArtifact, EngineParity
from ifseg_rt.tensorrt.sidecar import engine_sidecar_path, write_engine_sidecar

if TYPE_CHECKING:
    from export.parity.engine import EngineReport, Runner
    from export.pictures import Picture
    from train.loaded_model import LoadedModel
    from train.models.base import SegmentationModel


@dataclass(frozen=True)
class Workbench:
    """What builds engines, and who is told.

    Attributes:
        tensorrt: the one that builds.
        machine: facts of this machine.
        wishes: settings of the builder.
        progress: told of the builder's phases.
        on_stage: told what is being done.
        on_note: told what else is worth knowing.
    """

    tensorrt: TensorRt
    machine: Machine
    wishes: BuildSettings
    progress: BuildProgress
    on_stage: Callable[[str], None]
    on_note: Callable[[str], None]


@dataclass(frozen=True)
class MadeEngine:
    """A finished engine.

    Attributes:
        path: the engine.
        onnx: the ONNX model it was built from.
        artifact: its sealed sidecar.
        onnx_parity: PyTorch against ONNX, as measured by the export.
        engine_parity: the engine against its reference, or why there is no comparison.
    """

    path: Path
    onnx: Path
    artifact: EngineArtifact
    onnx_parity: dict[str, Any]
    engine_parity: dict[str, Any]


def check_engine_target(path: Path, source: Path | None = None, *, with_model: bool = True) -> None:
    """Refuses a place that cannot become an engine, before minutes of work.

    Args:
        path: the engine to write.
        source: what it is made from, which is never overwritten.
        with_model: whether the ONNX model beside it is written as well.

    Raises:
        UsageError: not an engine's suffix, or in a folder that does not exist.
    """
    if path.suffix.lower() not in ENGINE_SUFFIXES:
        raise UsageError(f"the output must end in {', '.join(sorted(ENGINE_SUFFIXES))}, found {path.name!r}")
    if with_model:
        check_target(path.with_suffix(".onnx"), source)
    check_places([path, engine_sidecar_path(path)], source)
    refuse_foreign_json(engine_sidecar_path(path), ENGINE_KIND)


def engine_from_model(
    model: LoadedModel[SegmentationModel],
    target: Path,
    settings: ExportSettings,
    bench: Workbench,
    *,
    provenance: Mapping[str, object] | None = None,
) -> MadeEngine:
    """Exports ``model``, builds its engine and puts engine, ONNX model and both sidecars beside each other.

    On any failure nothing is written and nothing that existed is touched.

    Args:
        model: with its vocabulary set; it is not changed.
        target: the engine file; the ONNX model gets its name with ``.onnx``.
        settings: of the export.
        bench: what builds.
        provenance: added to the model's own.

    Raises:
        IfsegError: see ``export_model`` and ``build_engine``;
            a ``ParityError`` names the first layer that diverges.
    """
    model = replace(model, module=on_cpu(model.module))
    pictures = parity_pictures(settings.pictures)
    onnx_name = target.with_suffix(".onnx").name
    with scratch_beside(target) as folder, _explained(model.module, settings, pictures[0], bench):
        exported = export_model(model, folder / onnx_name, settings, provenance=provenance, on_stage=bench.on_stage)
        if (doubt := exported.report.doubt) is not None:
            bench.on_note(f"warning: {doubt}")
        draft = folder / target.name
        engine = _build(exported.path, draft, bench)
        engine, report = _compared(
            engine, draft, pictures, bench, kind="torch", reference=lambda: _in_torch(model.module, settings, engine)
        )
        data = [folder / record.name for record in exported.artifact.files[:0:-1]]
        move_into_place(
            [*data, exported.path, sidecar_path(exported.path), draft, engine_sidecar_path(draft)], target.parent
        )
    return MadeEngine(target, target.with_name(onnx_name), engine, exported.report.to_dict(), report)


def engine_from_onnx(onnx: Path, target: Path, pictures_folder: Path | None, bench: Workbench) -> MadeEngine:
    """Builds the engine of an exported model as it is; on any failure nothing is written.

    Args:
        onnx: the model; its sidecar lies beside it.
        target: the engine file.
        pictures_folder: folder of pictures for the comparison; ``None`` for the shipped ones.
        bench: what builds.

    Raises:
        IfsegError: see :func:`ifseg_rt.tensorrt.building.build.build_engine`; the model or its sidecar is damaged.
    """
    artifact = read_artifact(onnx)
    pictures = parity_pictures(pictures_folder)
    with scratch_beside(target) as folder:
        draft = folder / target.name
        engine = _build(onnx, draft, bench)
        engine, report = _compared(
            engine, draft, pictures, bench, kind="onnx", reference=lambda: _in_onnx_runtime(onnx)
        )
        move_into_place([draft, engine_sidecar_path(draft)], target.parent)
    return MadeEngine(target, onnx, engine, msgspec.to_builtins(artifact.parity), report)


@contextmanager
def _explained(
    model: SegmentationModel, settings: ExportSettings, picture: Picture, bench: Workbench
) -> Iterator[None]:
    """Adds to a parity failure the first layer that diverges."""
    try:
        yield
    except ParityError as error:
        from export.parity.divergence import explain_divergence

        bench.on_stage("looking for the layer where it goes wrong")
        try:
            found = explain_divergence(model, settings, picture)
        except IfsegError:
            raise error from None
        raise ParityError(f"{error}; {found}", hint=error.hint) from error


def _build(onnx: Path, draft: Path, bench: Workbench) -> EngineArtifact:
    bench.on_stage(f"building {draft.name} with {bench.tensorrt.title}")
    return write_engine(onnx, draft, bench.wishes, bench.tensorrt, machine=bench.machine, progress=bench.progress)


def _compared(
    engine: EngineArtifact,
    draft: Path,
    pictures: list[Picture],
    bench: Workbench,
    *,
    kind: Literal["torch", "onnx"],
    reference: Callable[[], Any],
) -> tuple[EngineArtifact, dict[str, Any]]:
    """The engine's sidecar with the comparison in it, written again; and the report for people."""
    from export.parity.engine import compare_engine, run_model, why_not_compared

    reason = why_not_compared(engine, bench.tensorrt, bench.machine, reference=kind)
    if reason is not None or bench.machine.gpu is None:
        bench.on_note(f"not comparing the engine itself: {reason}")
        record, report = EngineParity(skipped=reason), {"skipped": reason}
    else:
        device = bench.machine.gpu.name
        bench.on_stage(f"comparing the engine on {len(pictures)} pictures on {device}")
        with reference() as expected, run_model(draft, device=f"cuda:{bench.machine.gpu.index}") as found:
            measured: EngineReport = compare_engine(
                found,
                expected,
                pictures,
                engine.model.category_names,
                kind=kind,
                precision=engine.model.precision,
                device=device,
            )
        measured.check()
        record, report = measured.record(), measured.to_dict()
    described = msgspec.structs.replace(engine, parity=record)
    return write_engine_sidecar(described, engine_sidecar_path(draft)), report


@contextmanager
def _in_torch(model: SegmentationModel, settings: ExportSettings, engine: EngineArtifact) -> Iterator[Runner]:
    from export.parity.engine import run_module

    module = freeze_model(model, settings, precision="fp32")
    yield run_module(module, engine.model.preprocess)


@contextmanager
def _in_onnx_runtime(onnx: Path) -> Iterator[Runner]:
    from export.parity.engine import run_model

    with run_model(onnx, device="cpu") as runner:
        yield runner
