"""Command lines of ``train.adapt`` that nobody meant: a documented exit code in one line, and nothing is damaged."""

from __future__ import annotations

import contextlib
import io
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.hostile.checkpoints import own_file
from train.adapt import main

Case = tuple[str, Callable[[], str | None]]

_TEXTS = (
    "", " ", ".", "..", "/", "~", "-", "--", "x" * 300, "x" * 5000, "a/" * 200, "no\nline", "\x00", "\ud800", "sky",
    "\u200b", "1", "-1", "0", "1e400", "nan", "inf", "-inf", "0x10", "9" * 20, "9" * 5000, "1.5", "[", "{", '["sky"',
    "/dev/null", "/dev/zero", "/proc/self/mem", "missing/folder/x.pt", "../../x.pt", "missing.safetensors", "micro.pt",
    "a,b", "\u0661",
)  # fmt: skip
_OPTIONS = (
    "--base", "--categories", "--categories-file", "--out", "--steps", "--batch-size", "--lr", "--seed", "--device",
    "--image-size", "--tokenizer", "--save-every",
)  # fmt: skip
_CODES = (0, 2, 5, 7, 8)


def cases(seed: int, count: int) -> Iterator[Case]:
    """As many command lines; each case gives a sentence where it is not treated as it should be."""
    place = random.Random(seed)
    folder = Path(tempfile.mkdtemp(prefix="hostile."))
    own = own_file(folder / "own.pt")
    names, tokenizer = folder / "names.txt", folder / "words"
    names.write_text("sky\nroad\n", encoding="utf-8")
    tokenizer.mkdir()
    (tokenizer / "vocab.json").write_text("{}", encoding="utf-8")
    (folder / "link.pt").symlink_to(own)
    (folder / "notes.pt").write_text("my notes", encoding="utf-8")
    os.mkfifo(folder / "fifo")
    kept = {path: path.read_bytes() for path in (own, names, tokenizer / "vocab.json", folder / "notes.pt")}
    files = [str(path) for path in (*kept, folder, folder / "link.pt", folder / "fifo", tokenizer)]
    for number in range(count):
        given = {"--base": str(own), "--categories": "sky", "--out": str(folder / "made.pt"), "--steps": "0",
                 "--device": "cpu"}  # fmt: skip
        for _ in range(place.choice((1, 1, 2))):
            option = place.choice(_OPTIONS)
            value = place.choice(files) if place.random() < 0.35 else place.choice(_TEXTS)
            # A number of steps that is taken is worked off.
            given[option] = "0" if option == "--steps" and value.isdecimal() and len(value) < 3 else value
            if option == "--categories-file":
                given.pop("--categories", None)
        arguments = [word for item in given.items() for word in item]

        def run(arguments: list[str] = arguments) -> str | None:
            problem = _told(arguments)
            for path, content in kept.items():
                if not path.is_file() or path.read_bytes() != content:
                    path.write_bytes(content)
                    problem = problem or f"{path.name} was changed"
            (folder / "made.pt").unlink(missing_ok=True)
            return problem

        yield f"options {number}: {arguments!r}"[:400], run


def _told(arguments: list[str]) -> str | None:
    said, answered = io.StringIO(), io.StringIO()
    # Files that are named relatively are made in a folder of their own.
    with (
        tempfile.TemporaryDirectory() as empty,
        contextlib.chdir(empty) if hasattr(contextlib, "chdir") else _chdir(empty),
    ):
        try:
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(answered):
                code = main([*arguments, "--quiet"])
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    lines = said.getvalue().splitlines()
    if code not in _CODES:
        return f"exit code {code}: {' | '.join(lines)[:300]}"
    if code and not (len(lines) in (1, 2) and lines[0].startswith("error: ") and "unexpected" not in lines[0]):
        return f"not one line: {' | '.join(lines)[:300]}"
    return None


@contextlib.contextmanager
def _chdir(folder: str) -> Iterator[None]:
    """``contextlib.chdir`` of Python 3.11."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
