"""How much of a machine a network takes: control groups of both versions, as files of a root that is made up."""

from __future__ import annotations

from pathlib import Path

import pytest

from ifseg_rt.backends.onnx_runtime.limits import cpu_quota, default_threads, memory_limit


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"sys/fs/cgroup/cpu.max": "max 100000"}, None),
        ({"sys/fs/cgroup/cpu.max": "150000 100000"}, 1.5),
        ({"sys/fs/cgroup/cpu.max": "nonsense"}, None),
        (
            {
                "proc/self/cgroup": "0::/robot/eyes",
                "sys/fs/cgroup/robot/cpu.max": "200000 100000",
                "sys/fs/cgroup/robot/eyes/cpu.max": "max 100000",
            },
            2.0,
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/x\n3:cpu,cpuacct:/docker/ab",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            3.0,
        ),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, None),
    ],
)
def test_quotas_of_control_groups(tmp_path: Path, files: dict[str, str], quota: float | None) -> None:
    write(tmp_path, files)
    assert cpu_quota(tmp_path) == quota


def test_threads_are_those_that_may_run(tmp_path: Path) -> None:
    assert default_threads(tmp_path, allowed=64, processors=64) is None
    assert default_threads(tmp_path, allowed=4, processors=64) == 4
    write(tmp_path, {"sys/fs/cgroup/cpu.max": "150000 100000"})
    assert default_threads(tmp_path, allowed=64, processors=64) == 2
    write(tmp_path, {"sys/fs/cgroup/cpu.max": "10000 100000"})
    assert default_threads(tmp_path, allowed=64, processors=64) == 1


def test_the_memory_is_the_least_that_is_said(tmp_path: Path) -> None:
    write(tmp_path, {"sys/fs/cgroup/memory.max": "123456789"})
    assert memory_limit(tmp_path) == 123456789
