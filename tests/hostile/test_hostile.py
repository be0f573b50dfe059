"""A few cases of a fixed seed of every kind; the many are gone through by ``python -m tests.hostile``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

if not sys.platform.startswith("linux"):
    pytest.skip("the cases make pipes and read devices", allow_module_level=True)

from tests.hostile.__main__ import run_kind


@pytest.mark.parametrize(("kind", "count"), [("models", 60), ("engines", 40), ("misuse", 60), ("commands", 6)])
def test_promises_hold(kind: str, count: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IFSEG_RT_CACHE", str(tmp_path))
    found, cases, _ = run_kind(kind, 11, count)
    assert cases >= count
    assert not found, "\n".join(found)
