"""From words to a model: adapts the small shipped model to the categories asked for, exports it, and keeps the result.

The work is done by ``train`` and ``export`` in processes of their own: this package never imports them. They have to be
installed even for what is in the cache already, because their code is part of what a cached model is known by.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import util
from pathlib import Path

from ifseg_rt.artifact.shipped import default_model_path
from ifseg_rt.artifact.sidecar import SCHEMA_VERSION, file_sha256, read_artifact, sidecar_path
from ifseg_rt.cache import CACHE_VARIABLE, file_lock, usable_folder
from ifseg_rt.categories import WantedCategory, are_those_of, write_categories
from ifseg_rt.cli.child_process import run_child
from ifseg_rt.cli.console import Console
from ifseg_rt.errors import ArtifactError, IfsegError
from ifseg_rt.version import installed_version

# The shipped base is pre-trained under random category lists and on artificial images, so a short adaptation fits it
# to one list; the published 2000 updates of 16 would take hours on two cores.
QUICK_STEPS, QUICK_BATCH = 20, 8
DEFAULT_SIZE = (384, 512)

_SEED = 0
_INSTALL = 'pip install "ifseg-rt[train,export]"'
_NEEDED = {"train": ("torch", "tokenizers"), "export": ("torch", "onnx", "onnxscript", "onnxruntime")}


@dataclass(frozen=True)
class _TrainingSide:
    """Where the training side lives: the folder that holds ``train/`` and ``export/``, and the base checkpoint."""

    root: Path
    base: Path


def model_for_categories(
    categories: Sequence[WantedCategory],
    console: Console,
    *,
    size: tuple[int, int] | None = None,
    steps: int | None = None,
) -> Path:
    """A model for these categories: the shipped one where it fits, else one from the cache, else a new one.

    Args:
        categories: what to label, in label order.
        console: told what is being done.
        size: height and width of the network's input; ``None`` for 384 x 512.
        steps: adaptation steps; ``None`` for :data:`QUICK_STEPS`.

    Returns:
        Path of a verified ``model.onnx``.

    Raises:
        IfsegError: something needed is not installed, or the adaptation or the export failed; the class and the exit
            code are those of the command that failed.
    """
    if size is None and steps is None and _shipped_model_fits(categories):
        console.note("the shipped model already has exactly these categories")
        return default_model_path()
    size, steps = size or DEFAULT_SIZE, steps or QUICK_STEPS
    training_side = _find_training_side()
    key = _key(categories, size, steps, training_side)
    folder = _cache_folder() / key
    with _locked(folder, console):
        if _is_kept(folder, categories, size, training_side, console):
            console.note(f"using the model made for these categories before: {folder}")
        else:
            _make(folder, categories, size, steps, training_side, console)
    return folder / "model.onnx"


def _shipped_model_fits(categories: Sequence[WantedCategory]) -> bool:
    try:
        return are_those_of(categories, read_artifact(default_model_path()))
    except ArtifactError:
        return False


def _find_training_side() -> _TrainingSide:
    # find_spec of a top-level name only searches; asking for "train.adapt" would import the package.
    roots: dict[str, Path] = {}
    for package, module in (("train", "adapt.py"), ("export", "to_onnx.py")):
        spec = util.find_spec(package)
        homes = [Path(home) for home in (spec.submodule_search_locations or [])] if spec is not None else []
        ours = [home for home in homes if (home / module).is_file()]
        if not ours:
            raise IfsegError(
                f"--categories adapts and exports a model, but the package {package!r} is not installed here",
                hint=_INSTALL,
            )
        roots[package] = ours[0]
    missing = sorted({name for names in _NEEDED.values() for name in names if util.find_spec(name) is None})
    if missing:
        raise IfsegError(
            f"--categories adapts and exports a model, which needs: {', '.join(missing)}",
            hint=f"{_INSTALL}, or use an exported model: --model model.onnx",
        )
    base = roots["train"] / "assets" / "micro.pt"
    if not base.is_file():
        raise IfsegError(f"the base model is missing: expected {base}", hint="install ifseg-rt again")
    return _TrainingSide(root=roots["train"].parent, base=base)


def _key(categories: Sequence[WantedCategory], size: tuple[int, int], steps: int, training_side: _TrainingSide) -> str:
    """A name for everything the model depends on, so that a change of any of it makes a new model."""
    code = hashlib.sha256()
    for package in ("train", "export"):
        for path in sorted((training_side.root / package).rglob("*.py")):
            code.update(path.relative_to(training_side.root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    parts = {
        "categories": [[category.name, category.synonyms, category.color] for category in categories],
        "size": size,
        "steps": steps,
        "batch": QUICK_BATCH,
        "seed": _SEED,
        "schema": SCHEMA_VERSION,
        "base": hashlib.sha256(training_side.base.read_bytes()).hexdigest(),
        "code": code.hexdigest(),
        "versions": {name: installed_version(name) for name in ("ifseg-rt", "torch", "onnx", "onnxscript")},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]


def _cache_folder() -> Path:
    try:
        return usable_folder("models").resolve()
    except OSError as error:
        raise IfsegError(
            f"no folder to keep a model in: {error.strerror or error}", hint=f"name one: {CACHE_VARIABLE}=FOLDER"
        ) from error


@contextmanager
def _locked(folder: Path, console: Console) -> Iterator[None]:
    from filelock import Timeout

    lock = file_lock(folder.with_suffix(".lock"), wait=-1)  # as long as it takes: making a model takes minutes
    try:
        lock.acquire(timeout=0)
    except Timeout:
        console.note("another process is making this model; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _is_kept(
    folder: Path,
    categories: Sequence[WantedCategory],
    size: tuple[int, int],
    training_side: _TrainingSide,
    console: Console,
) -> bool:
    """Whether the folder holds the model that was asked for, by what its sidecar says; anything else there goes."""
    if not folder.is_dir():
        return False
    try:
        artifact = read_artifact(folder / "model.onnx")
    except ArtifactError as error:
        problem = f"is damaged and is made again: {error}"
    else:
        found = (artifact.preprocess.height, artifact.preprocess.width)
        base = artifact.provenance.get("base_sha256")
        if not are_those_of(categories, artifact):
            problem = "has other categories than its name says and is made again"
        elif found != size:
            problem = f"is for pictures of {found[0]} x {found[1]}, expected {size[0]} x {size[1]}, and is made again"
        elif base != file_sha256(training_side.base):
            problem = "was made from another base model and is made again"
        else:
            return True
    console.warn(f"the cached model in {folder} {problem}")
    shutil.rmtree(folder)
    return False


def _make(
    folder: Path,
    categories: Sequence[WantedCategory],
    size: tuple[int, int],
    steps: int,
    training_side: _TrainingSide,
    console: Console,
) -> None:
    for leftover in folder.parent.glob(f"{folder.name}.part-*"):  # of a run that was killed; we hold the lock
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}.part-", dir=folder.parent) as scratch:
        names, checkpoint, model = (Path(scratch) / name for name in ("categories.json", "ckpt.pt", "model.onnx"))
        write_categories(names, categories)
        console.note(f"1/2 adapting the small model to {len(categories)} categories ({steps} steps, no images) ...")
        adapt = ["train.adapt", "--base", "micro", "--categories-file", str(names), "--out", str(checkpoint)]
        adapt += ["--steps", str(steps), "--batch-size", str(QUICK_BATCH), "--seed", str(_SEED)]
        run_child("the adaptation", adapt, training_side.root, console)
        console.note(f"2/2 exporting it for pictures of {size[0]} x {size[1]} ...")
        export = ["export.to_onnx", str(checkpoint), "-o", str(model), "--size", f"{size[0]}x{size[1]}"]
        run_child("the export", export, training_side.root, console)
        artifact = read_artifact(model)
        # One rename of a folder with nothing but the model: a reader sees all of it or nothing.
        finished = Path(scratch) / "finished"
        finished.mkdir()
        parts = [names, model, sidecar_path(model), *(model.with_name(record.name) for record in artifact.files[1:])]
        for path in parts:
            path.rename(finished / path.name)
        finished.rename(folder)
    console.note(f"kept for the next time in {folder}")
