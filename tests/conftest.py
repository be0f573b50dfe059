"""Fixtures for every test package, and one thread for each worker."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Read by torch when it is imported, and by child processes: workers that take all cores each wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of golden tensors and labelled pictures beside the checkout; skip where it is absent."""
    folder = ROOT.parent / "shared"
    if not (folder / "reference").is_dir():
        pytest.skip("the golden tensors and labelled pictures (folder 'shared' beside the checkout) are absent")
    return folder


@pytest.fixture(scope="session")
def golden(shared: Path) -> Path:
    """Return the folder with the golden tensors of the small random model."""
    return shared / "reference" / "mini"
