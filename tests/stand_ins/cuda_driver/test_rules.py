"""The stand-in for the driver notices what it is there to notice: one small wrong program for every rule."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs" / "broken_rules"
RULES = {name: line for name, (_, line) in runpy.run_path(str(PROGRAMS))["RULES"].items()}


@pytest.fixture(scope="module")
def reports(run_over_stand_in, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("reports")
    finished = run_over_stand_in(str(PROGRAMS), str(folder))
    assert finished.code == 0, finished.output
    return {report.name: report.read_text(encoding="utf-8") for report in folder.iterdir()}


@pytest.mark.parametrize("name", list(RULES))
def test_a_broken_rule_is_told(reports: dict[str, str], name: str) -> None:
    lines, expected = reports[name].splitlines(), RULES[name]
    if not expected:
        assert lines == []
        return
    assert lines, "nothing was noticed"
    assert expected in lines[0], lines


def test_broken_rules_and_leaks_fail_tests_that_pass_otherwise(gpu_tests_over_stand_in) -> None:
    faulty = str(PROGRAMS.with_name("faulty_tests.py"))
    broken = gpu_tests_over_stand_in(faulty, "-k", "rule_is_broken")
    assert broken.code == 1
    assert "1 passed" in broken.output
    assert "rules of CUDA were broken: an allocation of no bytes" in broken.output
    leaking = gpu_tests_over_stand_in(faulty, "-k", "never_freed")
    assert leaking.code == 1
    assert "1 passed" in leaking.output
    assert "never freed: blocks of GPU memory: 1, streams: 1" in leaking.output
    assert leaking.violations == []
