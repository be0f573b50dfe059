"""Segmentation quality on labelled pictures: mIoU, accuracies, every class, what is taken for what.

``python -m benchmarks.miou --dataset FOLDER`` or ``--dataset ade20k --root FOLDER`` takes the whole product path: it
adapts the shipped model to the set's class names, exports it, and reports the un-adapted and the adapted model, each
with the refinement off and on. ``--base`` adapts another model; a finished one is measured with ``--model``. The
tables go to stdout as Markdown, progress to stderr, everything with the machine's facts to ``--json``.

Known sets: {known}. A FOLDER holds images/, labels/ and meta.json.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.command import run_command
from ifseg_rt.cli.progress_bar import progress_bar
from ifseg_rt.cli.values import natural, positive

if TYPE_CHECKING:
    from benchmarks.datasets.picture_set import LabelledPicture, PictureSet
    from benchmarks.quality.evaluation import Quality
    from benchmarks.quality.models import Candidate

SHEET_ROWS = 6
_KNOWN = "camvid, voc, voc21, context, context60, ade20k, cocostuff, cocostuff-unseen, cityscapes"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is that of the failing step."""
    return run_command(_parser(), _measure, argv)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python -m benchmarks.miou",
        description=(__doc__ or "").format(known=_KNOWN),
        formatter_class=RawDescriptionHelpFormatter,
    )
    what = parser.add_argument_group("what is measured on")
    what.add_argument("--dataset", required=True, help="a known set, or a folder")
    what.add_argument("--root", type=Path, help="where the known set lies")
    what.add_argument("--split", help="part of the set (default: the one usually evaluated; of a folder: all)")
    what.add_argument(
        "--labels",
        choices=("auto", "raw", "converted"),
        default="auto",
        help="kind of label values, where a set has two (default: told by file names and values)",
    )
    what.add_argument("--limit", type=positive, help="measure only this many pictures, spread over the set")
    model = parser.add_argument_group("what is measured")
    model.add_argument("--model", help="this model.onnx or model.engine, or this adapted ckpt.pt after an export")
    model.add_argument("--base", default="micro", help="or adapt this: micro, a checkpoint or a hub id")
    model.add_argument("--tokenizer", type=Path, help="folder with BPE files, for a base without them beside it")
    model.add_argument("--names", type=Path, help="a line per class in label order (default: the published ones)")
    model.add_argument("--steps", type=natural, help="adaptation steps (default: as ifseg-rt --categories)")
    model.add_argument("--batch-size", type=positive, help="artificial images per step (default: likewise)")
    model.add_argument("--adapted-only", action="store_true", help="leave the un-adapted model out")
    model.add_argument("--seed", type=int, default=0, help="seed of the adaptation")
    model.add_argument("--size", help="input size, 512 or 384x640 (height x width; default: likewise)")
    model.add_argument(
        "--resize",
        choices=("stretch", "short"),
        default="stretch",
        help="stretch: every picture to the input size, as the run time does; short: short side 512, aspect ratio "
        "kept, in PyTorch, as the published evaluation does",
    )
    model.add_argument("--refine", metavar="K,T", help="neighbours and rounds, or off (default: the model's own)")
    model.add_argument("--device", default="auto", help="auto, cpu, cuda or tensorrt")
    model.add_argument("--threads", type=positive, help="CPU threads of the run time")
    out = parser.add_argument_group("what is written")
    out.add_argument("--json", type=Path, help="write all figures and facts here")
    out.add_argument("--markdown", type=Path, help="write the tables here as well")
    out.add_argument("--sheet", type=Path, help="write a picture sheet of the last model here")
    out.add_argument("--mistakes", type=natural, default=10, help="how many of the most frequent ones to list")
    out.add_argument("--keep", type=Path, help="keep the checkpoints and exported models in this folder")
    return parser


def _measure(options: Namespace) -> None:
    from benchmarks.datasets.open import open_set
    from benchmarks.quality.models import candidates
    from benchmarks.quality.sheet import draw_sheet, write_sheet
    from benchmarks.quality.tables import quality_rows, quality_tables

    _fill_in(options)
    data = open_set(options.dataset, options.root, split=options.split, labels=options.labels)
    pictures = data.pictures(options.limit)
    folder = tempfile.TemporaryDirectory() if options.keep is None else nullcontext(str(options.keep))
    with folder as place:
        measured = candidates(options, data, Path(place))
        rows = _score(measured, pictures, len(data.categories), options.mistakes)
        last = measured[-1]
        if options.sheet:
            from benchmarks.quality.evaluation import examples

            shown = examples(last.runs[-1], data.pictures(min(SHEET_ROWS, len(pictures))))
            write_sheet(options.sheet, draw_sheet(shown, last.categories, last.colors))
    words = last.categories
    names = [name if name == word else f"{name} ({word})" for name, word in zip(data.categories, words, strict=True)]
    facts = _facts(options, data, len(pictures), last)
    text = f"{_headline(facts)}\n\n{quality_tables(rows, names)}"
    if options.json:
        made = {candidate.name: candidate.origin for candidate in measured}
        _write_json(options.json, {**facts, "models": made, "rows": quality_rows(rows, data.categories)})
    if options.markdown:
        options.markdown.parent.mkdir(parents=True, exist_ok=True)
        options.markdown.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


def _fill_in(options: Namespace) -> None:
    """Set what the user left open as ``ifseg-rt --categories`` does, which always adapts ``micro``."""
    from ifseg_rt.cli.make_model import DEFAULT_SIZE, QUICK_BATCH, QUICK_STEPS

    if options.model is None and options.base == "micro":
        options.steps = QUICK_STEPS if options.steps is None else options.steps
        options.batch_size = QUICK_BATCH if options.batch_size is None else options.batch_size
        options.size = options.size or "x".join(map(str, DEFAULT_SIZE))


def _score(
    measured: Sequence[Candidate], pictures: Sequence[LabelledPicture], classes: int, mistakes: int
) -> list[Quality]:
    from benchmarks.quality.evaluation import evaluate

    rows: list[Quality] = []
    with progress_bar() as bar:
        for run in (run for candidate in measured for run in candidate.runs):
            settings = " and ".join("refined" if averaging else "unrefined" for averaging in run.averagings)
            task = bar.add_task(f"{run.model}, {settings}", total=len(pictures))
            rows += evaluate(run, pictures, classes, mistakes=mistakes, step=partial(bar.advance, task))
    return rows


def _facts(options: Namespace, data: PictureSet, pictures: int, last: Candidate) -> dict[str, object]:
    ready = options.model is not None
    names: Path | None = None if ready else options.names or data.names_file
    return {
        "benchmark": "miou",
        "dataset": data.name,
        "dataset_sha256": data.fingerprint,
        "pictures": pictures,
        "pictures_in_set": len(data.items),
        "labels": data.labels,
        "note": data.note,
        "classes": data.categories,
        "categories": last.categories,
        "names_file": names.name if names else None,
        "names_sha256": hashlib.sha256(names.read_bytes()).hexdigest() if names else None,
        "model": Path(options.model).name if ready else None,
        "base": None if ready else str(options.base),
        "steps": None if ready else options.steps,
        "batch_size": None if ready else options.batch_size,
        "seed": None if ready else options.seed,
        "size": last.size,
        "resize": options.resize,
    }


def _headline(facts: dict[str, object]) -> str:
    parts = [f"{facts['dataset']}: {facts['pictures']} pictures"]
    if facts["pictures"] != facts["pictures_in_set"]:
        parts[0] += f" of {facts['pictures_in_set']}"
    if facts["model"]:
        parts.append(f"model {facts['model']}")
    else:
        steps = facts["steps"] if facts["steps"] is not None else "default"
        parts.append(f"names {facts['names_file'] or 'of the set'}, base {facts['base']}, steps {steps}")
    lines = [", ".join([*parts, f"input {facts['size']}"]), f"Labels: {facts['labels']}.", str(facts["note"])]
    return "\n".join(line for line in lines if line)


def _write_json(path: Path, record: dict[str, object]) -> None:
    from benchmarks.records.machine import machine_facts

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**record, "machine": machine_facts()}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
