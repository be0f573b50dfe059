"""The models that a quality run measures, made by the product's own commands where they do not exist yet."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.datasets.picture_set import PictureSet
from benchmarks.quality.evaluation import Averaging, Run, segmenter_run
from ifseg_rt.errors import SourceError, UsageError

EXPORTED = (".onnx", ".engine", ".plan", ".trt")
_PUBLISHED_AVERAGING = (3, 25)
Color = tuple[int, int, int]


@dataclass(frozen=True)
class Candidate:
    """One model to measure.

    Attributes:
        name: in the tables.
        categories: its words, in label order.
        colors: RGB of each.
        size: of its input, in words.
        origin: how it was made, ready for JSON.
        runs: its settings, each measured.
    """

    name: str
    categories: tuple[str, ...]
    colors: tuple[Color, ...]
    size: str
    origin: dict[str, object]
    runs: tuple[Run, ...]


def candidates(options: Namespace, data: PictureSet, place: Path) -> list[Candidate]:
    """Return what to measure, in the order of the tables.

    Args:
        options: of the command, its defaults filled in.
        data: the set; the categories of every model stand in the order of its classes.
        place: folder for what is made.

    Raises:
        IfsegError: an option does not fit, or one of the product's commands failed.
    """
    place.mkdir(parents=True, exist_ok=True)
    short = options.resize == "short"
    if options.model is not None:
        model = Path(options.model)
        if short:
            if model.suffix in EXPORTED:
                raise UsageError(
                    f"{model.name} has one input size, --resize short gives every picture its own",
                    hint="give the checkpoint that it was exported from",
                )
            return [_of_checkpoint(model.stem, model, options, data)]
        return [_of_exported(model.stem, _exported(model, place, options.size), options, data)]
    names = words_file(options, data, place)
    found = []
    for label, checkpoint in _adapted(options, names, place):
        if short:
            found.append(_of_checkpoint(label, checkpoint, options, data))
        else:
            found.append(_of_exported(label, _exported(checkpoint, place, options.size), options, data))
    return found


def words_file(options: Namespace, data: PictureSet, place: Path) -> Path:
    """Return the file with a line per class: the one asked for, the published one, or the set's own class names."""
    from ifseg_rt.categories import read_categories

    names: Path | None = options.names or data.names_file
    if names is None:
        names = place / "names.txt"
        names.write_text("\n".join(data.categories) + "\n", encoding="utf-8")
    elif not names.is_file():
        raise SourceError(f"there is no names file {names}")
    found = len(read_categories(names))
    if found != len(data.categories):
        raise UsageError(
            f"{names} names {found} categories, the set has {len(data.categories)} classes",
            hint="one line per class, in label order: " + ", ".join(data.categories),
        )
    return names


def averagings_of(text: str | None, default: Averaging) -> tuple[Averaging, ...]:
    """Read ``--refine``: ``off``, ``K,T``, or by default the model's own setting; unrefined is always measured.

    Raises:
        UsageError: it is none of these.
    """
    if text == "off" or (text is None and default is None):
        return (None,)
    if text is None:
        return (None, default)
    try:
        neighbours, rounds = (int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--refine {text}: expected neighbours and rounds such as 3,25, or off") from None
    if neighbours < 1 or rounds < 0:
        raise UsageError(f"--refine {text}: expected at least one neighbour and no negative rounds")
    return (None, (neighbours, rounds))


def _adapted(options: Namespace, names: Path, place: Path) -> Iterator[tuple[str, Path]]:
    from benchmarks.making.product import adapt

    wanted = [("un-adapted", 0), ("adapted", options.steps)]
    if options.steps == 0:
        wanted = wanted[:1]
    elif options.adapted_only:
        wanted = wanted[1:]
    for label, steps in wanted:
        checkpoint = place / f"{label}.pt"
        adapt(
            options.base,
            names,
            checkpoint,
            steps=steps,
            batch_size=options.batch_size,
            seed=options.seed,
            tokenizer=options.tokenizer,
        )
        yield label, checkpoint


def _exported(model: Path, place: Path, size: str | None) -> Path:
    from benchmarks.making.product import export

    if model.suffix in EXPORTED:
        return model
    path = place / f"{model.stem}.onnx"
    export(model, path, size=size)
    return path


def _of_exported(name: str, path: Path, options: Namespace, data: PictureSet) -> Candidate:
    import msgspec

    from ifseg_rt.model_file import read_model
    from ifseg_rt.options import baked_refinement

    artifact = read_model(path).artifact
    check_categories(path.name, artifact.category_names, data.categories)
    averagings = averagings_of(options.refine, baked_refinement(artifact))
    return Candidate(
        name=name,
        categories=artifact.category_names,
        colors=tuple(category.color for category in artifact.categories),
        size=f"{artifact.preprocess.height}x{artifact.preprocess.width}",
        origin={
            "provenance": artifact.provenance,
            "parity": msgspec.to_builtins(artifact.parity),
            "refinement": msgspec.to_builtins(artifact.refinement),
            "tools": artifact.tools,
            "precision": artifact.precision,
        },
        runs=tuple(
            segmenter_run(name, path, averaging, device=options.device, threads=options.threads)
            for averaging in averagings
        ),
    )


def _of_checkpoint(name: str, path: Path, options: Namespace, data: PictureSet) -> Candidate:
    from benchmarks.quality.short_side import LONG_SIDE, SHORT_SIDE, short_side_run
    from ifseg_rt.drawing.palette import color_for
    from train import load_model

    model = load_model(path, tokenizer=options.tokenizer)
    found = model.vocabulary.categories
    check_categories(path.name, [category.name for category in found], data.categories)
    averagings = averagings_of(options.refine, _PUBLISHED_AVERAGING)
    return Candidate(
        name=name,
        categories=tuple(category.name for category in found),
        colors=tuple(category.color or color_for(index) for index, category in enumerate(found)),
        size=f"short side {SHORT_SIDE}, long side at most {LONG_SIDE}",
        origin={"provenance": dict(model.provenance), "precision": "fp32", "runs_in": "PyTorch"},
        runs=(short_side_run(name, model.module, averagings, device=options.device),),
    )


def check_categories(model: str, categories: Sequence[str], classes: Sequence[str]) -> None:
    """Check that a model's categories can be the classes of a set, in their order.

    Raises:
        UsageError: they are not as many, or one of them carries the name of another class.
    """
    if len(categories) != len(classes):
        raise UsageError(
            f"{model} has {len(categories)} categories, the set has {len(classes)} classes",
            hint="the categories must stand in label order: " + ", ".join(classes),
        )
    home = {name.lower(): index for index, name in enumerate(classes)}
    for index, name in enumerate(categories):
        other = home.get(name.lower(), index)
        if other != index:
            raise UsageError(
                f"{model}: category {index + 1} is {name!r}, in the set that is class {other + 1}",
                hint="the categories must stand in label order: " + ", ".join(classes),
            )
