"""What the commands of this package have in common: options, defaults, and packages that they need."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING

from ifseg_rt.artifact.sidecar import file_sha256
from ifseg_rt.cli.values import parse_size
from ifseg_rt.errors import CheckpointError, ExportError

if TYPE_CHECKING:
    from train.loaded_model import LoadedModel
    from train.models.base import SegmentationModel

_NEEDED = ("torch", "onnx", "onnxscript", "onnxruntime")


def require_packages() -> None:
    """Refuses to begin an export that cannot end.

    Raises:
        ExportError: a package is not installed.
    """
    missing = [name for name in _NEEDED if util.find_spec(name) is None]
    if missing:
        # The GPU's ONNX Runtime, where it is installed, must not be overwritten by the CPU's.
        extras = "cpu,export,train" if "onnxruntime" in missing else "export,train"
        raise ExportError(f"an export needs: {', '.join(missing)}", hint=f'pip install "ifseg-rt[{extras}]"')


def add_model_arguments(parser: argparse._ActionsContainer) -> None:
    """What may be said of a checkpoint's words and refinement, the same wherever one is exported."""
    names = parser.add_mutually_exclusive_group()
    names.add_argument("--categories", metavar="WORDS", help='other categories than the checkpoint\'s: "sky, road"')
    names.add_argument("--categories-file", type=Path, metavar="PATH", help="lines, JSON, YAML or CSV")
    parser.add_argument("--tokenizer", type=Path, metavar="DIR", help="BPE files for an OFA without them beside it")
    parser.add_argument("--neighbours", type=int, metavar="K", help="of the refinement (default: 3)")
    parser.add_argument("--rounds", type=int, metavar="T", help="of the refinement (default: 25)")


@dataclass(frozen=True)
class Loaded:
    """A checkpoint that is exported: its model, the input size it records, if any, and what its file adds to that."""

    model: LoadedModel[SegmentationModel]
    size: tuple[int, int] | None
    provenance: dict[str, object]


def load_checkpoint(source: str, options: argparse.Namespace, on_stage: Callable[[str], None]) -> Loaded:
    """Loads a checkpoint as parsed arguments of :func:`add_model_arguments` say.

    Raises:
        UsageError: the category file cannot be read, or holds no list of names.
        VocabularyError: the categories are missing, impossible, doubtful, given twice, or unknown to the model.
        ExportError: a package is missing that the export needs.
        CheckpointError: the checkpoint cannot be read.
    """
    from train.words.vocabulary import Vocabulary

    wanted = Vocabulary.asked(options.categories, options.categories_file)
    require_packages()

    from train.load import load_model

    on_stage(f"loading {source}")
    model = load_model(source, wanted, tokenizer=options.tokenizer)
    recorded = model.provenance.get("image_size")
    path = Path(source)
    return Loaded(
        model,
        parse_size(recorded) if isinstance(recorded, str) else None,
        {"checkpoint_sha256": file_sha256(path)} if path.is_file() else {},
    )


def default_target(source: str, suffix: str) -> Path:
    """Beside a checkpoint file; in the current folder for ``micro``, a folder or a hub id."""
    path = Path(source)
    try:
        is_file = path.is_file()
    except OSError as error:  # a name that is too long, a folder without rights
        raise CheckpointError(f"cannot read the checkpoint {source[:200]!r}: {error.strerror}") from error
    return path.with_suffix(suffix) if is_file else Path(f"{path.name or 'model'}{suffix}")


def given(value: int | None, default: int) -> int:
    """An argument that was left out, and may be zero where it was not."""
    return default if value is None else value
