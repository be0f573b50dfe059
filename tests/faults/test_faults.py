"""A few faults of a fixed seed; the many are thrown by ``python -m tests.faults``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

if not sys.platform.startswith("linux"):
    pytest.skip("the faults read /proc and set Linux's limits", allow_module_level=True)

from tests.faults.__main__ import ROOT, prepare, run_case
from tests.faults.bench import Tools
from tests.faults.registry import KINDS

SEED = 7
TWICE = ("mp4", "mkv", "ts", "mjpeg", "pictures", "no_space", "signals", "names", "neighbours")
CASES = [(kind, number) for kind in KINDS for number in range(2 if kind in TWICE else 1)]


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    """The model and the clips."""
    return prepare(tmp_path_factory.mktemp("tools"), ROOT)


@pytest.mark.parametrize(("kind", "number"), CASES)
def test_promises_hold(kind: str, number: int, tools: Tools, tmp_path: Path) -> None:
    report = run_case(kind, number, SEED, tmp_path, tools)
    assert not report.violations, "\n".join((*report.violations, *report.commands))
