"""What a precision costs: equal labels, masks beside float32's, and mIoU on a labelled set.

``python -m benchmarks.precisions --model ckpt.pt --dataset FOLDER --size 384x512 --out precisions.jsonl`` exports the
checkpoint in every precision, compares each graph with the model on pictures of the set, and scores each on the whole
set with the refinement off and on. Graphs run in ONNX Runtime on the CPU, also those meant for GPUs; bf16, which it has
no kernels for, is compared in PyTorch and not scored. The table goes to stdout as Markdown.
"""

from __future__ import annotations

import sys
import tempfile
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.command import run_command
from benchmarks.records.store import RecordFile
from ifseg_rt.cli.progress_bar import progress_bar
from ifseg_rt.cli.values import positive
from ifseg_rt.errors import UsageError

if TYPE_CHECKING:
    from benchmarks.datasets.picture_set import LabelledPicture, PictureSet
    from benchmarks.records.store import Record
    from train.loaded_model import LoadedModel
    from train.models.base import SegmentationModel

    Model = LoadedModel[SegmentationModel]

PRECISIONS = ("fp32", "fp16", "bf16", "int8", "int8_fp16")
_NOT_RUN_HERE = frozenset({"bf16"})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is that of the failing step."""
    parser = ArgumentParser(
        prog="python -m benchmarks.precisions", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="a checkpoint adapted to the classes of the set")
    parser.add_argument("--dataset", required=True, help="a known set, or a folder, as for benchmarks.miou")
    parser.add_argument("--root", type=Path, help="where the known set lies")
    parser.add_argument("--limit", type=positive, help="measure only this many pictures, spread over the set")
    parser.add_argument("--size", help="input size, 512 or 384x640 (default: as ifseg-rt --categories)")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=PRECISIONS, help="which (default: all)")
    parser.add_argument("--threads", type=positive, help="CPU threads of the run time")
    parser.add_argument("--out", type=Path, help="append a line of JSON per precision; what is there is not repeated")
    parser.add_argument("--again", action="store_true", help="measure again what is in --out already")
    parser.add_argument("--keep", type=Path, help="keep the exported models in this folder")
    return run_command(parser, _measure, argv)


def _measure(options: Namespace) -> None:
    from benchmarks.datasets.open import open_set
    from benchmarks.quality.models import check_categories
    from benchmarks.records.tables import machines, precisions_table
    from ifseg_rt.cli.make_model import DEFAULT_SIZE
    from ifseg_rt.cli.values import parse_size
    from train.load import load_model

    size = parse_size(options.size) if options.size else DEFAULT_SIZE
    data = open_set(options.dataset, options.root)
    pictures = data.pictures(options.limit)
    folders = {picture.picture_path.parent for picture in pictures}
    if len(folders) != 1:
        raise UsageError(f"{data.name} keeps its pictures in {len(folders)} folders; expected one")
    model = load_model(options.model)
    check_categories(options.model, [category.name for category in model.vocabulary.categories], data.categories)
    stored = RecordFile(options.out, again=options.again) if options.out else None
    records: list[Record] = []
    keep = tempfile.TemporaryDirectory() if options.keep is None else nullcontext(str(options.keep))
    with keep as place:
        Path(place).mkdir(parents=True, exist_ok=True)
        for precision in options.precision:
            key = _key(model, data, len(pictures), size, precision)
            if stored is not None and stored.has(key):
                continue
            path = Path(place) / f"{precision}.onnx"
            record = _compare(model, path, size, precision, folders.copy().pop())
            scores = {} if precision in _NOT_RUN_HERE else _score(path, data, pictures, options.threads)
            records.append({"benchmark": "precisions", "key": key, **record, **scores, "machine": _machine()})
            if stored is not None:
                stored.add(records[-1])
    shown = records if stored is None else stored.records()
    sys.stdout.write(f"{precisions_table(shown)}\n{machines(shown)}")


def _key(model: Model, data: PictureSet, pictures: int, size: tuple[int, int], precision: str) -> dict[str, Any]:
    return {
        "model": model.module.config.name,
        "dataset": data.name,
        "pictures": pictures,
        "size": "x".join(map(str, size)),
        "precision": precision,
    }


def _compare(model: Model, path: Path, size: tuple[int, int], precision: str, pictures: Path) -> dict[str, Any]:
    """Export, and what the export itself measured."""
    from export.products.onnx_model import export_model
    from export.settings import ExportSettings

    def say(stage: str) -> None:
        sys.stderr.write(f"{precision}: {stage} ...\n")

    settings = ExportSettings(size=size, precision=precision, pictures=pictures)  # type: ignore[arg-type]
    exported = export_model(model, path, settings, on_stage=say)
    report = exported.report
    return {
        "file_mb": sum(file.bytes for file in exported.artifact.files) / 1e6,
        "compared_pictures": report.pictures,
        "computed_by": report.computed_by,
        "relative_logit_error": report.relative_logit_error,
        "label_agreement": report.label_agreement,
        "worst_picture": report.worst_picture[1],
        "mean_iou": report.mean_iou,
    }


def _score(path: Path, data: PictureSet, pictures: Sequence[LabelledPicture], threads: int | None) -> dict[str, Any]:
    """MIoU against the set's labels, unrefined and refined."""
    from benchmarks.quality.evaluation import evaluate, segmenter_run
    from ifseg_rt.artifact.sidecar import read_artifact
    from ifseg_rt.options import baked_refinement

    baked = baked_refinement(read_artifact(path))
    wanted = {"miou": None, **({} if baked is None else {"miou_refined": baked})}
    scores: dict[str, Any] = {}
    with progress_bar() as bar:
        for name, averaging in wanted.items():
            task = bar.add_task(f"{path.stem}, {name}", total=len(pictures))
            run = segmenter_run(path.stem, path, averaging, device="cpu", threads=threads)
            quality = evaluate(run, pictures, len(data.categories), step=partial(bar.advance, task))
            scores[name] = quality[0].scores.miou
    return scores


def _machine() -> dict[str, object]:
    from benchmarks.records.machine import machine_facts

    return machine_facts()


if __name__ == "__main__":
    sys.exit(main())
