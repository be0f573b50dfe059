"""Programs in the form of checkpoints: none is ever run, whichever way a file can hold one."""

from __future__ import annotations

import argparse
import os
import pickle
import random
import subprocess
import tempfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from ifseg_rt.errors import CheckpointError
from train.adaptation.resume import read_resume
from train.load import load_base

Case = tuple[str, Callable[[], str | None]]


class Bomb:
    """What is called with these arguments when it is unpickled without care."""

    def __init__(self, call: Callable[..., object], *arguments: object) -> None:
        self.call = call
        self.arguments = arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call, self.arguments


class Handmade(Bomb):
    """The same with a state, for the instruction BUILD."""

    def __reduce__(self) -> Any:
        return self.call, self.arguments, {"state": 1}


def bombs(mark: Path) -> dict[str, Bomb]:
    """Each leaves a folder of this name, or takes memory without end."""
    code = f"import os; os.mkdir({str(mark)!r})"
    return {
        "mkdir": Bomb(os.mkdir, str(mark)),
        "makedirs": Bomb(os.makedirs, str(mark)),
        "system": Bomb(os.system, f"mkdir '{mark}'"),
        "exec": Bomb(exec, code),
        "eval": Bomb(eval, f"__import__('os').mkdir({str(mark)!r})"),
        "with a state": Handmade(os.mkdir, str(mark)),
        "subprocess": Bomb(subprocess.call, ["mkdir", str(mark)]),
        "popen": Bomb(subprocess.Popen, ["mkdir", str(mark)]),
        "torch.load": Bomb(torch.load, str(mark)),
        "torch.hub": Bomb(torch.hub.load, str(mark), "x"),
        "import": Bomb(__import__, "this"),
        "memory": Bomb(bytearray, 10**12),
        "open": Bomb(open, str(mark), "w"),
    }


def protocol(number: int) -> Callable[[Bomb, Path], None]:
    """A bare pickle."""
    return lambda bomb, path: path.write_bytes(pickle.dumps(bomb, number)) and None


def within(place: Callable[[Bomb], object], **options: Any) -> Callable[[Bomb, Path], None]:
    """What ``torch.save`` makes of a document with the bomb in it."""
    return lambda bomb, path: torch.save(place(bomb), path, **options)


def attached(bomb: Bomb) -> object:
    tensor = torch.zeros(2)
    tensor.bomb = bomb  # type: ignore[attr-defined]
    return {"model": {"encoder.embed_tokens.weight": tensor}}


def state_with_metadata(bomb: Bomb) -> object:
    state = OrderedDict(a=torch.zeros(1))
    state._metadata = bomb  # type: ignore[attr-defined]
    return state


def second_pickle(bomb: Bomb, path: Path) -> None:
    """A good archive with another pickle of the same name, which another reader may take."""
    torch.save({"model": {}}, path)
    with zipfile.ZipFile(path, "a") as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        archive.writestr(name, pickle.dumps(bomb, 2))


def tensors_in_a_module(bomb: Bomb, path: Path) -> None:
    module = torch.nn.Linear(1, 1)
    module.bomb = bomb  # type: ignore[assignment]
    torch.save(module, path)


FORMS: dict[str, Callable[[Bomb, Path], None]] = {
    **{f"bare pickle {number}": protocol(number) for number in range(6)},
    "zip": within(lambda bomb: {"model": {}, "extra": bomb}),
    "zip, protocol 4": within(lambda bomb: {"model": {}, "extra": bomb}, pickle_protocol=4),
    "old": within(lambda bomb: {"model": {}, "extra": bomb}, _use_new_zipfile_serialization=False),
    "options": within(lambda bomb: {"cfg": {"model": argparse.Namespace(task=bomb)}, "model": {}}),
    "key": within(lambda bomb: {"model": {(bomb,): 1}}),
    "attribute": within(attached),
    "metadata": within(state_with_metadata),
    "our own": within(lambda bomb: {"format": "ifseg-rt-checkpoint", "version": 2, "provenance": {"x": bomb}}),
    "resume": within(lambda bomb: {"format": "ifseg-rt-resume", "optimiser": bomb}),
    "a second pickle": second_pickle,
    "a module": tensors_in_a_module,
}


def cases(seed: int, count: int) -> Iterator[Case]:
    """As many combinations of a program and a way to hide it; each case gives a sentence if it ran or was accepted."""
    folder = Path(tempfile.mkdtemp(prefix="hostile."))
    mark = folder / "exploded"
    programs = bombs(mark)
    pairs = [(name, form) for name in programs for form in FORMS]
    random.Random(seed).shuffle(pairs)
    for number in range(count):
        name, form = pairs[number % len(pairs)]

        def run(bomb: Bomb = programs[name], make: Callable[[Bomb, Path], None] = FORMS[form]) -> str | None:
            path = folder / "bomb.pt"
            make(bomb, path)
            for read in (load_base, read_resume):
                try:
                    read(path)
                except CheckpointError as error:
                    if "\n" in str(error) or not str(error):
                        return f"not one line: {error}"
                except Exception as error:
                    return f"{type(error).__name__}: {error}"
                else:
                    if read is load_base:
                        return "was accepted"
                if mark.exists():
                    return "was run"
            return None

        yield f"bomb {number}: {name} in {form}", run
