"""What the commands of this package have in common: options, defaults, and packages that they need."""

from __future__ import annotations

import argparse
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING

from ifseg_rt.errors import ExportError

if TYPE_CHECKING:
    from train.words.vocabulary import Vocabulary

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


def wanted_categories(options: argparse.Namespace) -> Vocabulary | None:
    """The categories in parsed arguments of :func:`add_model_arguments`; ``None`` for the checkpoint's own.

    Raises:
        UsageError: the file cannot be read, or holds no list of names.
        VocabularyError: a name is empty, impossible, doubtful or given twice.
    """
    if options.categories is None and options.categories_file is None:
        return None
    from train.words.vocabulary import Vocabulary

    if options.categories_file is not None:
        return Vocabulary.from_file(options.categories_file)
    return Vocabulary.parse(options.categories)


def default_target(source: str, suffix: str) -> Path:
    """Beside a checkpoint file; in the current folder for ``micro``, a folder or a hub id."""
    path = Path(source)
    return path.with_suffix(suffix) if path.is_file() else Path(f"{path.name or 'model'}{suffix}")


def given(value: int | None, default: int) -> int:
    """An argument that was left out, and may be zero where it was not."""
    return default if value is None else value
