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


# -- one-way stairs -------------------------------------------------------------------------------------------------

FOLDER_HOLDS = 16
PACKAGES = ("ifseg_rt", "train", "export", "benchmarks")
# Names that users type; they may share a first word.
COMMANDS = {"export/to_onnx.py", "export/to_trt.py"}

# Files and folders directly under a package, highest row first: each imports from lower rows alone.
ROWS: dict[str, list[set[str]]] = {
    "ifseg_rt": [
        {"__main__"},
        {"cli"},
        {"__init__"},
        {"segmenter"},
        {"choose_runner"},
        {"runner", "stream"},
        {"host", "gpu", "sinks"},
        {"result", "model_file", "backends"},
        {"tensorrt", "options", "categories", "drawing"},
        {"artifact", "frames", "kernels", "sources"},
        {"machine", "cache"},
        {"errors", "leaving", "native_noise", "processes", "upsampling", "version"},
    ],
    "export": [
        {"to_onnx", "to_trt"},
        {"__init__"},
        {"products"},
        {"parity"},
        {"freeze_model"},
        {"calibration"},
        {"settings", "sidecar"},
        {"graph"},
        {"frozen", "pictures", "arguments"},
    ],
    "train": [
        {"adapt", "pretrain"},
        {"__init__"},
        {"load", "pretraining"},
        {"adaptation"},
        {"loaded_model"},
        {"checkpoints"},
        {"models"},
        {"words"},
    ],
    "benchmarks": [
        {"miou", "latency", "label_times", "glass_to_mask", "precisions", "plots", "report"},
        {"gpu", "peers"},
        {"speed", "quality"},
        {"making"},
        {"datasets", "records", "command"},
        {"__init__"},
    ],
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def import_graph(package: str) -> dict[str, set[str]]:
    """Return module -> modules of the same package it imports, wherever in the file and for whatever purpose."""
    modules = {module_name(path): path for path in sources(package)}
    graph: dict[str, set[str]] = {name: set() for name in modules}
    for name, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                graph[name] |= {alias.name for alias in node.names if alias.name in modules}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module in modules:
                members = {f"{node.module}.{alias.name}" for alias in node.names}
                graph[name] |= members & set(modules)
                if members - set(modules):
                    graph[name].add(node.module)
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "import_module":
                graph[name] |= {arg.value for arg in node.args if isinstance(arg, ast.Constant)} & set(modules)
    return {name: targets - {name} for name, targets in graph.items()}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return groups of nodes that reach each other, by what every node reaches."""
    reached: dict[str, set[str]] = {}
    for start in graph:
        seen: set[str] = set()
        waiting = list(graph[start])
        while waiting:
            node = waiting.pop()
            if node not in seen:
                seen.add(node)
                waiting += graph.get(node, ())
        reached[start] = seen
    groups = {tuple(sorted(b for b in reached[a] if a in reached[b])) for a in graph if a in reached[a]}
    return [list(group) for group in sorted(groups)]


def unit(module: str) -> str:
    """Return the file or folder directly under the package that a module belongs to."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_files_import_each_other_in_a_circle(package: str) -> None:
    assert not circles(import_graph(package))


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_down_the_rows(package: str) -> None:
    row = {name: height for height, names in enumerate(reversed(ROWS[package])) for name in names}
    graph = import_graph(package)
    unknown = {unit(name) for name in graph} - set(row)
    missing = set(row) - {unit(name) for name in graph}
    upward = [
        f"{name} imports {target}"
        for name, targets in sorted(graph.items())
        for target in sorted(targets)
        if unit(name) != unit(target) and row.get(unit(name), 0) <= row.get(unit(target), 0)
    ]
    assert not unknown, "give them a row"
    assert not missing, "rows of what is no more"
    assert not upward


def test_no_folder_is_full() -> None:
    counts: dict[Path, int] = {}
    for path in sources(*PACKAGES, "tests"):
        counts[path.parent] = counts.get(path.parent, 0) + 1
    assert not {str(folder.relative_to(ROOT)): n for folder, n in counts.items() if n > FOLDER_HOLDS}


def test_no_prefix_does_the_work_of_a_folder() -> None:
    first_words: dict[tuple[Path, str], list[str]] = {}
    for path in sources(*PACKAGES):
        inside = path.relative_to(ROOT).as_posix()
        if "_" in path.stem.strip("_") and inside not in COMMANDS:
            first_words.setdefault((path.parent, path.stem.split("_")[0]), []).append(inside)
    assert not [names for names in first_words.values() if len(names) > 1]
