"""The shape of the code base: rings that point inward, small files, no leftovers of the machine it was written on."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LONGEST_FILE = 350

# ring -> what it must never import, at import time or later
FORBIDDEN = {
    "ifseg_rt": {"torch", "transformers", "onnx", "onnxscript", "train", "export", "benchmarks", "tests"},
    "train": {"export", "benchmarks", "tests"},
    "export": {"benchmarks", "tests"},
}
# Written so that this file does not find itself.
MACHINE_PATH = re.compile(r"/(?:work|root|farm)/|/(?:tmp|opt)/(?:bash_jobs|dev)\b")
UNFINISHED = re.compile(r"\b(?:TO[D]O|FIX[M]E|NotImplemented[E]rror)\b")


def tracked() -> list[Path]:
    """Return the files that git tracks; a copy without git is checked as far as its packages go."""
    git = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if git.returncode != 0:
        return sources(*FORBIDDEN, "benchmarks", "tests")
    return [ROOT / name for name in git.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def sources(*packages: str) -> list[Path]:
    return [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, top-level package) of every import, including those inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module.split(".")[0]


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


@pytest.mark.parametrize("ring", sorted(FORBIDDEN))
def test_rings_point_inward(ring: str) -> None:
    found = [
        f"{place(path, line)} imports {name}"
        for path in sources(ring)
        for line, name in imported(ast.parse(path.read_text(encoding="utf-8")))
        if name in FORBIDDEN[ring]
    ]
    assert not found


def test_importing_the_run_time_loads_nothing_heavy() -> None:
    program = "import sys, ifseg_rt; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    answer = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not FORBIDDEN["ifseg_rt"] & set(answer.stdout.split())


def test_library_code_raises_and_logs_instead_of_asserting_and_printing() -> None:
    found = []
    for path in sources(*FORBIDDEN, "benchmarks"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Assert):
                found.append(f"{place(path, node.lineno)}: assert")
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                found.append(f"{place(path, node.lineno)}: print")
    assert not found


def test_every_module_says_what_it_is() -> None:
    undocumented = [
        str(path.relative_to(ROOT))
        for path in sources(*FORBIDDEN, "benchmarks", "tests")
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not undocumented


def test_files_are_short_and_named_for_their_concern() -> None:
    paths = sources(*FORBIDDEN, "benchmarks", "tests")
    lengths = {p.relative_to(ROOT): len(p.read_text(encoding="utf-8").splitlines()) for p in paths}
    long = {path: lines for path, lines in lengths.items() if lines > LONGEST_FILE}
    vague = [p.relative_to(ROOT) for p in paths if p.stem in ("util", "utils", "helper", "helpers", "common", "misc")]
    assert not long
    assert not vague


def test_nothing_tracked_is_unfinished_or_tied_to_one_machine() -> None:
    found = []
    for path in tracked():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(lines, 1):
            if MACHINE_PATH.search(line) or (path.suffix == ".py" and UNFINISHED.search(line)):
                found.append(f"{place(path, number)}: {line.strip()[:80]}")
    assert not found
