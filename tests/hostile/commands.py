"""Arguments of the commands, mutated: a documented exit code, few plain lines, and nothing written but the target."""

from __future__ import annotations

import contextlib
import io
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

from tests.faults.making.tiny_model import write_model
from tests.hostile.models import Case
from tests.hostile.watch import CANARY, WILD, entries, judged, wordy

_CODES = {*range(9), 130, 143}
_VALUES = [
    # Half a pair cannot be an argument of a process; a byte that is no UTF-8 can, and arrives as one half of another.
    *(str(value).replace("\ud800", "\udcff") for value in WILD if not isinstance(value, int) or abs(value) < 10**300),
    "9" * 20,
    "9" * 5000,
    "1x1",
    "0x0",
    "99999x1",
    "3,25",
    "-3,-25",
    "cuda:99999999999999999999",
    "1..0",
    "8.6",
    "sky, road",
    "①",
    "-",
    "--",
    "in/missing.onnx",
    "in/model.onnx",
    "in/model.json",
    "in/link.onnx",
    "in/fifo.onnx",
    "/dev/null",
    "/proc/self/mem",
    "/nowhere/at/all.onnx",
    "in/foreign.onnx",
    "in/foreign.engine",
    "in",
]
COMMANDS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "ifseg-rt": (
        ["in/picture.png", "--model", "in/model.onnx", "--no-window", "-q", "-o", "out", "--device", "cpu"],
        ("--size", "--steps", "--refine", "--threads", "--alpha", "--max-frames", "--rebuild", "--allow-host-code"),
    ),
    "export.to_onnx": (
        ["in/missing.pt", "-o", "out/made.onnx", "--size", "32", "-q"],
        ("--batch", "--rounds", "--neighbours", "--opset", "--precision", "--categories", "--pictures", "--tokenizer"),
    ),
    "export.to_trt": (
        ["in/model.onnx", "-o", "out/made.engine", "-q", "--runtime", "tensorrt"],
        ("--batch", "--size", "--workspace", "--compute-capability", "--precision", "--device", "--calibration"),
    ),
    "rebuild": (
        ["rebuild", "in/model.onnx", "-o", "out/made.engine", "-q", "--runtime", "tensorrt"],
        ("--workspace", "--compute-capability", "--device", "--hardware-compatible", "--version-compatible"),
    ),
}


def cases(seed: int, count: int) -> Iterator[Case]:
    """``count`` mutations of the arguments of every command, by that seed."""
    for command in COMMANDS:
        for number in range(count):
            yield f"{command} {number}", partial(_run, command, f"{seed}/{command}/{number}")


def _mutated(dice: random.Random, command: str) -> list[str]:
    base, options = COMMANDS[command]
    arguments = list(base)
    first = 1 if command == "rebuild" else 0  # without its name it would be another command
    for _ in range(dice.choice((1, 1, 2, 3))):
        what = dice.choice(("value", "value", "option", "option", "drop", "twice"))
        place = dice.randrange(first, len(arguments)) if len(arguments) > first else first
        if what == "value" and place < len(arguments):
            arguments[place] = dice.choice(_VALUES)
        elif what == "option":
            arguments += [dice.choice(options), dice.choice(_VALUES)]
        elif what == "drop" and place < len(arguments):
            del arguments[place]
        elif place < len(arguments):
            arguments.insert(place, arguments[place])
    return arguments


def _main(command: str) -> Callable[[list[str]], int]:
    if command == "export.to_onnx":
        from export.to_onnx import main
    elif command == "export.to_trt":
        from export.to_trt import main
    else:
        from ifseg_rt.cli.main import main
    return main


def _furnish(folder: Path) -> None:
    import cv2
    import numpy as np

    place = folder / "in"
    place.mkdir()
    (folder / "out").mkdir()
    write_model(place)
    cv2.imwrite(str(place / "picture.png"), np.zeros((40, 60, 3), np.uint8))
    (place / "link.onnx").symlink_to("model.onnx")
    os.mkfifo(place / "fifo.onnx")
    (place / "foreign.json").write_text('{"my": "settings"}')
    (place / "foreign.engine.json").write_text('{"my": "settings"}')


def _run(command: str, seed: str) -> str | None:
    arguments = _mutated(random.Random(seed), command)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _furnish(folder)
        inside = {path: path.read_bytes() for path in (folder / "in").iterdir() if path.is_file()}
        before = entries(folder)
        said, home = io.StringIO(), Path.cwd()
        os.environ["IFSEG_RT_CACHE"] = str(folder / "cache")
        os.chdir(folder)
        try:
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
                found = judged(lambda: _ended(_main(command)(arguments)))
        finally:
            os.chdir(home)
        found = found or _words(said.getvalue())
        strange = {
            entry
            for entry in entries(folder) - before
            if entry.partition("/")[0] not in ("out", "cache", "ifseg-rt-output") and not _named(entry, arguments)
        }
        if found is None and any(path.read_bytes() != data for path, data in inside.items() if path.is_file()):
            found = "a file that was there was changed"
        if found is None and (strange or (folder / CANARY).exists()):
            found = f"written outside of the target: {sorted(strange)[:3]}"
        if found is None and list((folder / "out").glob(".*")):
            found = "a temporary folder was left behind"
    return f"{[a[:60] for a in arguments]}: {found}" if found is not None else None


def _named(entry: str, arguments: list[str]) -> bool:
    """Whether a new file is where an argument says, or in what it names, or a sidecar of it."""
    outputs = [argument for before, argument in pairwise(arguments) if before == "-o"]
    wanted = [Path(output) for output in outputs if output]
    return any(entry == str(path) or entry.startswith(str(path.with_suffix(""))) for path in wanted)


def _ended(code: int) -> str | None:
    return None if code in _CODES else f"exit code {code}"


def _words(text: str) -> str | None:
    lines = text.strip().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    if len(errors) > 4 or len(lines) > 12:  # a line for every source that fails, and one for how many
        return f"{len(lines)} lines: {text[:300]!r}"
    return next((found for line in lines if (found := wordy(line))), None)
