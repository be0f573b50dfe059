"""The product path from words to an exported model, through the same commands that a user types.

Each step runs in a process of its own: what is measured is then exactly what the commands give, and PyTorch's threads
are gone before ONNX Runtime's begin.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ifseg_rt.errors import IfsegError


def adapt(
    base: str,
    names_file: Path,
    out: Path,
    *,
    steps: int | None,
    batch_size: int | None = None,
    seed: int = 0,
    tokenizer: Path | None = None,
) -> None:
    """Write ``out``: the model ``base`` adapted to the categories of ``names_file``.

    Args:
        base: ``micro``, a checkpoint path or a hub id.
        names_file: one category per line.
        out: the checkpoint to write.
        steps: adaptation steps; 0 only sets the vocabulary, ``None`` is the command's own default.
        batch_size: artificial images per step; ``None`` is the command's own default.
        seed: random seed.
        tokenizer: folder with BPE files, for a base without them beside it.

    Raises:
        IfsegError: the command failed; it has said why on stderr.
    """
    arguments = ["--base", base, "--categories-file", str(names_file), "--out", str(out), "--seed", str(seed)]
    for option, value in (("--steps", steps), ("--batch-size", batch_size), ("--tokenizer", tokenizer)):
        if value is not None:
            arguments += [option, str(value)]
    run_step("train.adapt", arguments)


def export(
    checkpoint: Path, out: Path, *, size: str | None, precision: str | None = None, batch: int | None = None
) -> None:
    """Write ``out`` (``model.onnx``) and its sidecar from a checkpoint.

    Args:
        checkpoint: the adapted checkpoint.
        out: the model to write.
        size: input size such as ``512`` or ``384x640`` (height x width); ``None`` is the command's own default.
        precision: such as ``fp16``; likewise.
        batch: pictures per call; likewise.

    Raises:
        IfsegError: the command failed; it has said why on stderr.
    """
    run_step("export.to_onnx", export_arguments(checkpoint, out, size=size, precision=precision, batch=batch))


def export_arguments(
    checkpoint: Path,
    out: Path,
    *,
    size: str | None,
    precision: str | None = None,
    batch: int | None = None,
    biases: str | None = None,
) -> list[str]:
    """Return the arguments of ``python -m export.to_onnx``; see :func:`export`."""
    arguments = [str(checkpoint), "-o", str(out)]
    for option, value in (("--size", size), ("--precision", precision), ("--batch", batch), ("--biases", biases)):
        if value is not None:
            arguments += [option, str(value)]
    return arguments


def run_step(module: str, arguments: Sequence[str], *, capture: bool = False) -> str:
    """Run ``python -m module`` and return its stdout if captured.

    Otherwise its stdout joins stderr: the stdout of a benchmark is its own table and nothing else.

    Raises:
        IfsegError: the command failed, with its exit code; it has said why on stderr.
    """
    command = [sys.executable, "-m", module, *arguments]
    answer = subprocess.run(command, stdout=subprocess.PIPE if capture else sys.stderr, text=True, check=False)
    if answer.returncode:
        failure = IfsegError(
            f"python -m {module} ended with exit code {answer.returncode}", hint="its own message stands above"
        )
        failure.exit_code = answer.returncode
        raise failure
    return answer.stdout or ""
