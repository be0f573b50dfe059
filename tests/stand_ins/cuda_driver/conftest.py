"""Programs and tests over a stand-in for the CUDA driver: the installed cuda.core and NVRTC, kernels on the CPU.

The stand-in (``source/``) is compiled once and only ever loaded by other processes, whose environment names it.
"""

from __future__ import annotations

import ctypes
import os
import platform
import runpy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from ifseg_rt.kernels.compile import SOURCES

HERE = Path(__file__).parent
BUILD = runpy.run_path(str(HERE.parent / "kernel_shim" / "build.py"))
LIBRARY = "libcuda.so.1"
LONGEST = 300  # seconds: only so that a deadlock ends


@dataclass(frozen=True)
class Finished:
    """A process that has ended.

    Attributes:
        code: its exit code.
        output: stdout and stderr.
        violations: the rules it broke, a line each.
    """

    code: int
    output: str
    violations: list[str]


def why_not() -> str | None:
    """Why the stand-in cannot take the driver's place here."""
    if not sys.platform.startswith("linux") or platform.machine() != "x86_64":
        return "the stand-in for the CUDA driver is made for Linux on x86-64"
    try:
        missing = [name for name in ("cuda.core", "cuda.bindings") if find_spec(name) is None]
    except ModuleNotFoundError:
        missing = ["cuda.core"]
    if missing:
        return f"{missing[0]} is not installed: there is nothing to run over the stand-in for the CUDA driver"
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    return "this computer has a CUDA driver: the tests of the GPU run over that"


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of processes that are to find the stand-in instead of a driver."""
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    folder, kernels = tmp_path_factory.mktemp("driver"), tmp_path_factory.mktemp("kernels")
    lines = [f'#include "{source}"' for source in sorted((HERE / "source").glob("*.cpp"))]
    options = [f"-I{HERE / 'source'}", "-Wall", "-Wextra", "-Werror", f"-Wl,-soname,{LIBRARY}", "-ldl", "-lpthread"]
    driver = BUILD["build"](folder, LIBRARY, lines, *options)
    compiled = BUILD["compile_kernels"](
        kernels, {BUILD["KERNELS"] / f"{source}.cu": list(BUILD["signatures"](source)) for source in SOURCES}
    )
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "CUDA"))}
    paths = [str(folder), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    return {
        **inherited,
        "LD_LIBRARY_PATH": os.pathsep.join(paths),
        "DRIVER_STAND_IN": str(driver),
        "DRIVER_STAND_IN_KERNELS": str(compiled),
        "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache")),  # machine code, from one process to the next
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture(scope="session")
def run_over_stand_in(
    stand_in: dict[str, str], root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Finished]:
    """Run Python with arguments, in the root of the checkout."""

    def run(*arguments: str, folder: Path | None = None) -> Finished:
        report = tmp_path_factory.mktemp("report") / "violations.txt"
        report.write_text("", encoding="utf-8")
        paths = [str(root), *([] if folder is None else [str(folder)])]
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=root,
            env={**stand_in, "DRIVER_STAND_IN_REPORT": str(report), "PYTHONPATH": os.pathsep.join(paths)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LONGEST,
            check=False,
        )
        return Finished(done.returncode, done.stdout, report.read_text(encoding="utf-8").splitlines())

    return run


@pytest.fixture(scope="session")
def gpu_tests_over_stand_in(
    run_over_stand_in: Callable[..., Finished], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Finished]:
    """Run tests that need a GPU; broken rules and leaks fail them."""

    def run(*arguments: str) -> Finished:
        own = tmp_path_factory.mktemp("tests") / "files"  # else it clears old files of runs like this one
        options = ["-q", "-m", "gpu", "-p", "no:cacheprovider", "-p", "watch_driver", "--basetemp", str(own)]
        return run_over_stand_in("-m", "pytest", *options, *arguments, folder=HERE / "plugin")

    return run
