"""Segmentation quality of the whole product path: words -> adapt -> export -> Segmenter.

``python -m benchmarks.miou --dataset FOLDER`` adapts the shipped model to the set's class names and reports the
un-adapted and the adapted model, each with the refinement off and on. A finished model is measured with ``--model``.
The table goes to stdout as Markdown, progress to stderr, everything with the machine's facts to ``--json``.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.command import progress_bar, run_command
from ifseg_rt.errors import SourceError, UsageError

if TYPE_CHECKING:
    from benchmarks.datasets import LabelledPicture
    from benchmarks.evaluation import Quality
    from ifseg_rt import Artifact

SHEET_ROWS = 6


@dataclass(frozen=True)
class Candidate:
    """One exported model to measure, under the name it has in the table."""

    name: str
    path: Path


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is that of the failing step."""
    return run_command(_parser(), _measure, argv)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python -m benchmarks.miou", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", type=Path, required=True, help="folder with images/, labels/ and meta.json")
    parser.add_argument("--model", type=Path, help="measure this model.onnx, or this adapted ckpt.pt after an export")
    parser.add_argument("--names", type=Path, help="a line per class in label order: name, synonym")
    parser.add_argument("--base", default="micro", help="what to adapt: micro, a checkpoint or a hub id")
    parser.add_argument("--steps", type=int, help="adaptation steps (default: as ifseg-rt --categories)")
    parser.add_argument("--batch-size", type=int, help="artificial images per step (default: likewise)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the adaptation")
    parser.add_argument("--size", help="input size, 512 or 384x640 (height x width; default: likewise)")
    parser.add_argument("--limit", type=int, help="measure only this many pictures, spread over the set")
    parser.add_argument("--json", type=Path, help="write all figures and facts here")
    parser.add_argument("--sheet", type=Path, help="write a picture sheet of the last model here")
    parser.add_argument("--keep", type=Path, help="keep the checkpoints and exported models in this folder")
    return parser


def _measure(options: Namespace) -> None:
    from benchmarks.datasets import LabelledImages
    from benchmarks.evaluation import quality_tables

    if options.limit is not None and options.limit < 1:
        raise UsageError(f"--limit {options.limit}: expected at least one picture")
    _fill_in(options)
    data = LabelledImages(options.dataset)
    pictures = data.pictures(options.limit)
    folder = tempfile.TemporaryDirectory() if options.keep is None else nullcontext(str(options.keep))
    with folder as place:
        candidates = _candidates(options, data.categories, Path(place))
        artifacts = _read_artifacts(candidates, data.categories)
        rows = _score(candidates, pictures, len(data.categories))
        if options.sheet:
            _write_sheet(options.sheet, candidates[-1].path, data.pictures(min(SHEET_ROWS, len(pictures))))
    words = artifacts[-1].category_names
    facts = {
        "benchmark": "miou",
        "dataset": data.name,
        "dataset_sha256": data.fingerprint,
        "pictures": len(pictures),
        "classes": data.categories,
        "categories": words,
        **_settings(options, artifacts[-1]),
    }
    if options.json:
        made = {candidate.name: _origin(artifact) for candidate, artifact in zip(candidates, artifacts, strict=True)}
        _write_json(options.json, {**facts, "models": made, "rows": [row.to_dict() for row in rows]})
    labels = [name if name == word else f"{name} ({word})" for name, word in zip(data.categories, words, strict=True)]
    sys.stdout.write(f"{_headline(facts)}\n\n{quality_tables(rows, labels)}")


def _fill_in(options: Namespace) -> None:
    """Set what the user left open as ``ifseg-rt --categories`` does, which always adapts ``micro``."""
    from ifseg_rt.words import DEFAULT_SIZE, QUICK_BATCH, QUICK_STEPS

    if options.model is None and options.base == "micro":
        options.steps = QUICK_STEPS if options.steps is None else options.steps
        options.batch_size = QUICK_BATCH if options.batch_size is None else options.batch_size
        options.size = options.size or "x".join(map(str, DEFAULT_SIZE))


def _candidates(options: Namespace, classes: Sequence[str], place: Path) -> list[Candidate]:
    """Return the models to measure, made by the product's own commands where they do not exist yet."""
    from benchmarks.product import adapt, export

    place.mkdir(parents=True, exist_ok=True)
    if options.model is not None:
        if options.model.suffix == ".onnx":
            return [Candidate(options.model.stem, options.model)]
        export(options.model, place / f"{options.model.stem}.onnx", size=options.size)
        return [Candidate(options.model.stem, place / f"{options.model.stem}.onnx")]
    names = options.names
    if names is None:
        names = place / "names.txt"
        names.write_text("\n".join(classes) + "\n", encoding="utf-8")
    elif not names.is_file():
        raise SourceError(f"there is no names file {names}")
    made: list[Candidate] = []
    for label, steps in (("un-adapted", 0), ("adapted", options.steps)):
        if label == "adapted" and steps == 0:
            break
        checkpoint = place / f"{label}.pt"
        adapt(options.base, names, checkpoint, steps=steps, batch_size=options.batch_size, seed=options.seed)
        export(checkpoint, checkpoint.with_suffix(".onnx"), size=options.size)
        made.append(Candidate(label, checkpoint.with_suffix(".onnx")))
    return made


def _read_artifacts(candidates: Sequence[Candidate], classes: Sequence[str]) -> list[Artifact]:
    """Return the models' sidecars; the categories must be as many as the classes, and stand in their order."""
    from ifseg_rt import read_artifact

    artifacts = [read_artifact(candidate.path) for candidate in candidates]
    for candidate, artifact in zip(candidates, artifacts, strict=True):
        if len(artifact.categories) != len(classes):
            raise UsageError(
                f"{candidate.path.name} has {len(artifact.categories)} categories, the set has {len(classes)} classes",
                hint="the categories must stand in label order: " + ", ".join(classes),
            )
    return artifacts


def _score(candidates: Sequence[Candidate], pictures: Sequence[LabelledPicture], classes: int) -> list[Quality]:
    from benchmarks.evaluation import Quality, evaluate

    rows: list[Quality] = []
    with progress_bar() as bar:
        for candidate, refined in itertools.product(candidates, (False, True)):
            task = bar.add_task(f"{candidate.name}{', refined' if refined else ''}", total=len(pictures))
            step = partial(bar.advance, task)
            scores = evaluate(candidate.path, pictures, classes, refined=refined, step=step)
            rows.append(Quality(candidate.name, refined, scores))
    return rows


def _write_json(path: Path, record: dict[str, object]) -> None:
    from benchmarks.machine import machine_facts

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**record, "machine": machine_facts()}, indent=1) + "\n", encoding="utf-8")


def _write_sheet(path: Path, model: Path, pictures: Sequence[LabelledPicture]) -> None:
    import cv2

    from benchmarks.evaluation import examples
    from benchmarks.sheet import draw_sheet
    from ifseg_rt import read_artifact

    artifact = read_artifact(model)
    sheet = draw_sheet(
        examples(model, pictures, refined=True), artifact.category_names, [c.color for c in artifact.categories]
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), sheet):
        raise SourceError(f"cannot write the picture sheet {path}")


def _settings(options: Namespace, artifact: Artifact) -> dict[str, object]:
    ready = options.model is not None
    return {
        "names_file": options.names.name if options.names else None,
        "model": options.model.name if ready else None,
        "base": None if ready else str(options.base),
        "steps": None if ready else options.steps,
        "batch_size": None if ready else options.batch_size,
        "seed": None if ready else options.seed,
        "size": f"{artifact.preprocess.height}x{artifact.preprocess.width}",
    }


def _origin(artifact: Artifact) -> dict[str, object]:
    """Return what the sidecar says of how the model was made and how exactly its graph computes the same."""
    import msgspec

    return {
        "provenance": artifact.provenance,
        "parity": msgspec.to_builtins(artifact.parity),
        "refinement": msgspec.to_builtins(artifact.refinement),
        "tools": artifact.tools,
    }


def _headline(facts: dict[str, object]) -> str:
    parts = [f"{facts['dataset']}: {facts['pictures']} pictures"]
    if facts["model"]:
        parts.append(f"model {facts['model']}")
    else:
        steps = facts["steps"] if facts["steps"] is not None else "default"
        parts.append(f"names {facts['names_file'] or 'of the set'}, base {facts['base']}, steps {steps}")
    return ", ".join([*parts, f"input {facts['size']}"])


if __name__ == "__main__":
    sys.exit(main())
