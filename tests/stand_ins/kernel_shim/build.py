"""Compiles kernels, and other C++ of the tests, for this CPU; conftest files load this file by its path."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

SHIM = Path(__file__).parent
KERNELS = Path(__file__).parents[3] / "ifseg_rt" / "kernels"
# The fortified longjmp of some distributions refuses to change stacks.
FLAGS = ["-std=c++17", "-O1", "-ffp-contract=off", "-fPIC", "-shared", "-Wno-unknown-pragmas", "-U_FORTIFY_SOURCE"]


def signatures(source: str) -> dict[str, list[str]]:
    """Parameter types of every kernel of one source file, in order; pointers as ``*``."""
    text = re.sub(r"//[^\n]*", "", (KERNELS / f"{source}.cu").read_text(encoding="utf-8"))
    found = {}
    for name, parameters in re.findall(
        r'extern "C" __global__ void __launch_bounds__\([\d, ]+\)\s*(\w+)\s*\(([^)]*)\)\s*\{', text
    ):
        found[name] = ["*" if "*" in item else " ".join(item.split()[:-1]) for item in parameters.split(",")]
    return found


def build(folder: Path, name: str, lines: list[str], *options: str) -> Path:
    """Compile one translation unit to a library with the system's C++ compiler; skip where there is none."""
    compiler = next((found for found in map(shutil.which, ("c++", "g++", "clang++")) if found), None)
    if compiler is None:
        pytest.skip("no C++ compiler (c++, g++ or clang++): the kernels cannot be run on the CPU")
    source, library = folder / "all.cpp", folder / name
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [compiler, *FLAGS, "-o", str(library), str(source), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return library


def compile_kernels(folder: Path, sources: dict[Path, list[str]]) -> Path:
    """Compile kernels, named by source file, to a library with two functions.

    ``shim_launch`` runs one; ``shim_sizes`` tells the bytes of its parameters and returns how many it has, or -1.
    """
    names = [name for found in sources.values() for name in found]
    lines = [
        '#include "words.hpp"',
        *(f'#include "{source}"' for source in sources),
        'extern "C" int shim_launch(const char* name, const unsigned* grid, const unsigned* block, unsigned shared,',
        "                           void** arguments, uint64_t seed) {",
        "    const std::string wanted = name;",
        "    void (*kernel)() = nullptr;",
        *(f'    if (wanted == "{name}") kernel = shim::call_with_arguments<{name}>;' for name in names),
        "    if (kernel == nullptr) return shim::unknown_kernel;",
        "    return shim::launch(kernel, {grid[0], grid[1], grid[2]}, {block[0], block[1], block[2]}, shared,",
        "                        arguments, seed);",
        "}",
        'extern "C" int shim_sizes(const char* name, size_t* sizes) {',
        "    const std::string wanted = name;",
        *(f'    if (wanted == "{name}") return shim::sizes_of_parameters(&{name}, sizes);' for name in names),
        "    return -1;",
        "}",
    ]
    return build(folder, "kernels.so", lines, f"-I{SHIM}")
