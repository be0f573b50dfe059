"""The product path from words to an exported model, through the same commands that a user types.

Each step runs in a process of its own: what is measured is then exactly what the commands give, and PyTorch's threads
are gone before ONNX Runtime's begin.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ifseg_rt.errors import IfsegError


def adapt(base: str, names_file: Path, out: Path, *, steps: int | None, seed: int = 0) -> None:
    """Write ``out``: the model ``base`` adapted to the categories of ``names_file``.

    Args:
        base: ``micro``, a checkpoint path or a hub id.
        names_file: one category per line.
        out: the checkpoint to write.
        steps: adaptation steps; 0 only sets the vocabulary, ``None`` is the command's own default.
        seed: random seed.

    Raises:
        IfsegError: the command failed; it has said why on stderr.
    """
    arguments = ["--base", base, "--categories-file", str(names_file), "--out", str(out), "--seed", str(seed)]
    if steps is not None:
        arguments += ["--steps", str(steps)]
    _run("train.adapt", arguments)


def export(checkpoint: Path, out: Path, *, size: str | None) -> None:
    """Write ``out`` (``model.onnx``) and its sidecar from a checkpoint.

    Args:
        checkpoint: the adapted checkpoint.
        out: the model to write.
        size: input size such as ``512`` or ``384x640`` (height x width); ``None`` is the command's own default.

    Raises:
        IfsegError: the command failed; it has said why on stderr.
    """
    _run("export.to_onnx", [str(checkpoint), "-o", str(out), *(["--size", size] if size else [])])


def _run(module: str, arguments: list[str]) -> None:
    # stdout of the step joins stderr: the stdout of a benchmark is its table and nothing else.
    code = subprocess.run([sys.executable, "-m", module, *arguments], stdout=sys.stderr, check=False).returncode
    if code:
        failure = IfsegError(f"python -m {module} ended with exit code {code}", hint="its own message stands above")
        failure.exit_code = code
        raise failure
