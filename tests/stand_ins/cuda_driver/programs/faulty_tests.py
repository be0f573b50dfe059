"""Tests that pass but for what the plugin watches: a rule that is broken unnoticed, and memory that is never freed.

Run by ``test_rules.py``, to see them fail; ordinary runs do not collect this file.
"""

from __future__ import annotations

from importlib import import_module

import pytest

pytestmark = pytest.mark.gpu
KEPT = []


def test_a_rule_is_broken() -> None:
    import_module("cuda.core").Device(0).set_current()
    driver = import_module("cuda.bindings.driver")
    status, *_ = driver.cuMemHostAlloc(0, 0)
    assert int(status) != 0


def test_memory_is_never_freed() -> None:
    device = import_module("cuda.core").Device(0)
    device.set_current()
    KEPT.append(device.allocate(64, stream=device.create_stream()))
