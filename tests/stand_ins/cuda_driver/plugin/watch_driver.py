"""A pytest plugin for runs over the stand-in: broken rules of CUDA, and what is never freed, fail the tests."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Iterator

import pytest

# By its path: a computer may have a driver of its own, which must not be meant.
driver = ctypes.CDLL(os.environ["DRIVER_STAND_IN"])
driver.stand_in_violation.restype = driver.stand_in_alive.restype = ctypes.c_char_p


def violations() -> list[str]:
    return [driver.stand_in_violation(index).decode() for index in range(driver.stand_in_violations())]


@pytest.fixture(autouse=True)
def no_rule_is_broken() -> Iterator[None]:
    before = len(violations())
    yield
    if new := violations()[before:]:
        pytest.fail("rules of CUDA were broken: " + "; ".join(new))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    gc.collect()
    if alive := driver.stand_in_alive().decode():
        print(f"\nnever freed: {alive}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
