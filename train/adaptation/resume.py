"""Reads a resume file, and what it must hold before anything of it is put into a model."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from ifseg_rt.errors import CheckpointError
from train.checkpoints.safe_pickle import load_untrusted, require_file
from train.checkpoints.sound_tensors import plain_tensor
from train.checkpoints.zip_checks import is_zip

FORMAT = "ifseg-rt-resume"
START_AGAIN = "delete it to start again"
_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Expected:
    """What the adaptation at hand is like.

    Attributes:
        identity: hash of its settings, vocabulary and base.
        steps: its length.
        model: the model's own state dict, for names, shapes and dtypes.
        parameters: what is trained, in the optimiser's order.
    """

    identity: str
    steps: int
    model: Mapping[str, Tensor]
    parameters: Sequence[Tensor]


@dataclass(frozen=True)
class Resumed:
    """Contents of a resume file that fit.

    Attributes:
        step: updates done.
        loss: of the last one; NaN where there was none.
        model: state dict.
        optimiser: per parameter ``step``, ``exp_avg`` and ``exp_avg_sq``; empty before the first applied update.
        scaler: state of the loss scaler; empty where it was off.
    """

    step: int
    loss: float
    model: dict[str, Tensor]
    optimiser: dict[int, dict[str, Tensor]]
    scaler: dict[str, Any]


def read_resume(path: Path) -> object:
    """Unpickles ``path`` without running code in it, after verifying its checksums.

    Raises:
        CheckpointError: unreadable, unsafe, cut off, or a byte differs from what was written.
    """
    try:
        require_file(path)
        if not is_zip(path):  # nor is there a checksum in the format before it, which this program never wrote
            raise CheckpointError(
                f"{path} is not a zip file as torch writes them, or is cut off or damaged ({path.stat().st_size} bytes)"
            )
        return load_untrusted(path)
    except CheckpointError as error:
        raise CheckpointError(str(error), hint=START_AGAIN) from error


def parse_resume(document: object, expected: Expected, origin: str) -> Resumed:
    """Checks everything; changes nothing.

    Args:
        document: what the file unpickled to.
        expected: what it has to fit.
        origin: the file's name, for messages.

    Raises:
        CheckpointError: no resume file, of another adaptation, or damaged; says which entry.
    """
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise CheckpointError(f"{origin} is not a resume file of ours", hint=START_AGAIN)
    if document.get("identity") != expected.identity:
        raise CheckpointError(
            f"{origin} belongs to another adaptation: base, categories, steps, batch size, learning rate and seed "
            "must be the same",
            hint=START_AGAIN,
        )
    check = _Check(origin)
    step, loss = document.get("step"), document.get("loss")
    if type(step) is not int or not 0 <= step <= expected.steps:
        check.fail(f"step {reprlib.repr(step)} of {expected.steps}")
    if not isinstance(loss, float):
        check.fail(f"its loss is {reprlib.repr(loss)}")
    scaler = _scaler(document.get("scaler"), check)
    return Resumed(
        step=step,
        loss=loss,
        model=_model(document.get("model"), expected.model, check),
        optimiser=_moments(document.get("optimiser"), expected.parameters, step, bool(scaler), check),
        scaler=scaler,
    )


@dataclass(frozen=True)
class _Check:
    origin: str

    def fail(self, found: str) -> NoReturn:
        raise CheckpointError(f"{self.origin} is damaged: {found}", hint=START_AGAIN)

    def tensor(self, name: str, found: object, like: Tensor) -> Tensor:
        """Refuses what is not a tensor of finite numbers of this shape and dtype."""
        if not isinstance(found, Tensor):
            self.fail(f"{name} is no tensor")
        found = plain_tensor(found)
        if isinstance(found, str):
            self.fail(f"{name} {found}")
        if found.shape != like.shape or found.dtype != like.dtype:
            self.fail(
                f"{name} is {found.dtype} {list(found.shape)}, expected {like.dtype} {list(like.shape)}".replace(
                    "torch.", ""
                )
            )
        if not found.isfinite().all():
            self.fail(f"{name} holds numbers that are not finite")
        return found


def _model(found: object, like: Mapping[str, Tensor], check: _Check) -> dict[str, Tensor]:
    if not isinstance(found, dict):
        check.fail("it has no weights")
    missing, foreign = [key for key in like if key not in found], [key for key in found if key not in like]
    if missing or foreign:
        words = [f"{len(keys)} weights {what}, {str(keys[0])[:100]} first" for keys, what in
                 ((missing, "missing"), (foreign, "too many")) if keys]  # fmt: skip
        check.fail("; ".join(words))
    return {key: check.tensor(key, found[key], tensor) for key, tensor in like.items()}


def _moments(
    found: object, parameters: Sequence[Tensor], step: int, scaled: bool, check: _Check
) -> dict[int, dict[str, Tensor]]:
    """The optimiser's state; its settings are not taken from the file."""
    state = found.get("state") if isinstance(found, dict) else None
    if not isinstance(state, dict):
        check.fail("it has no optimiser state")
    # A loss scaler may have skipped every update so far; otherwise the first one leaves moments.
    if not state and (step == 0 or scaled):
        return {}
    if set(state) != set(range(len(parameters))) or not all(isinstance(entry, dict) for entry in state.values()):
        check.fail(f"its optimiser is of {len(state)} parameters, expected {len(parameters)}")
    moments = {}
    for index, parameter in enumerate(parameters):
        entry, name = state[index], f"the optimiser's {{}} of parameter {index}"
        count = check.tensor(name.format("step"), entry.get("step"), torch.zeros(()))
        values = {key: check.tensor(name.format(key), entry.get(key), parameter) for key in _MOMENTS}
        if not 1 <= float(count) <= step or float(count) != float(state[0]["step"]):
            check.fail(f"{name.format('step')} is {float(count):g} after {step} updates")
        if (values["exp_avg_sq"] < 0).any():
            check.fail(f"{name.format('exp_avg_sq')} is negative")
        moments[index] = {"step": count, **values}
    return moments


def _scaler(found: object, check: _Check) -> dict[str, Any]:
    if not isinstance(found, dict):
        check.fail("it has no loss scaler")
    scale, tracker = found.get("scale", 1.0), found.get("_growth_tracker", 0)
    if not isinstance(scale, float) or not (0 < scale < math.inf) or type(tracker) is not int or tracker < 0:
        check.fail(f"its loss scale is {reprlib.repr(scale)}")
    return {"scale": scale, "_growth_tracker": tracker} if found else {}
