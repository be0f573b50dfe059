"""How much of the machine a network may take: processors by the container's quota, memory by what there is."""

from __future__ import annotations

import logging
import math
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

_LOG = logging.getLogger(__name__)
_ROOT = Path("/")
_SHARE = 0.75  # of the memory that there is at all
_LEAST_MEMORY = 1 << 30
_capping = threading.Lock()
_capped: list[bool] = []


def default_threads(root: Path = _ROOT, *, allowed: int | None = None, processors: int | None = None) -> int | None:
    """CPU threads for a network; ``None`` where ONNX Runtime's own choice, one per core, is right.

    ONNX Runtime counts the machine's cores: in a container that may use two of 64 processors it would start 64 threads,
    which are stopped most of the time.

    Args:
        root: folder that ``proc`` and ``sys`` lie in.
        allowed: processors that this process may run on; ``None`` asks the system.
        processors: those of the machine; ``None`` asks the system.
    """
    processors = processors or os.cpu_count() or 1
    allowed = allowed or _allowed(processors)
    quota = cpu_quota(root)
    most = min(allowed, processors if quota is None else max(1, math.ceil(quota)))
    return most if most < processors else None


def cpu_quota(root: Path = _ROOT) -> float | None:
    """Processors that the control groups of this process leave it, version 1 or 2; ``None`` for no limit."""
    found = []
    for folder in _folders(root, "cpu"):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if not quota:
            quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        with suppress(ValueError):
            if float(quota) > 0 and float(period) > 0:
                found.append(float(quota) / float(period))
    return min(found, default=None)


def memory_limit(root: Path = _ROOT) -> int | None:
    """Bytes that this process may have at all, by its control groups and the machine's memory; ``None`` if unknown."""
    found = []
    with suppress(AttributeError, OSError, ValueError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for folder in _folders(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with suppress(ValueError):
                found.append(int(_read(folder / name)))
    return min((value for value in found if value > 0), default=None)


def cap_memory(runtime: Any, options: Any) -> None:  # noqa: ANN401
    """Let sessions take at most three quarters of the memory that there is: a graph that wants more fails by itself.

    Without it the system would end the process, or another one. ONNX Runtime has a limit only for memory that sessions
    of a process share, so they share it; what a closed one leaves serves the next.

    Args:
        runtime: the ``onnxruntime`` module.
        options: the ``SessionOptions`` of a session to be.
    """
    with _capping:
        if not _capped:
            _capped.append(_register(runtime))
    if _capped[0]:
        options.add_session_config_entry("session.use_env_allocators", "1")


def _register(runtime: Any) -> bool:  # noqa: ANN401
    limit = memory_limit()
    if limit is None:
        return False
    try:
        kinds, places = runtime.OrtAllocatorType, runtime.OrtMemType
        memory = runtime.OrtMemoryInfo("Cpu", kinds.ORT_ARENA_ALLOCATOR, 0, places.DEFAULT)
        most = max(_LEAST_MEMORY, int(limit * _SHARE))
        runtime.create_and_register_allocator(memory, runtime.OrtArenaCfg({"max_mem": most}))
    except Exception as error:  # ONNX Runtime raises a different class for every status code
        _LOG.debug("ONNX Runtime takes no limit of memory: %s", error)
        return False
    return True


def _allowed(processors: int) -> int:
    try:
        return len(os.sched_getaffinity(0)) or processors
    except (AttributeError, OSError):  # not on Linux
        return processors


def _folders(root: Path, controller: str) -> list[Path]:
    """The control groups of this process, its own and all around it; a container sees its own as the root."""
    mounts = root / "sys" / "fs" / "cgroup"
    found = {mounts, mounts / controller}
    for line in _read(root / "proc" / "self" / "cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, inside = rest.partition(":")
        if not controllers:  # version 2
            base = mounts
        elif controller in controllers.split(","):
            base = mounts / controller
        else:
            continue
        parts = [part for part in inside.split("/") if part not in ("", "..")]
        found |= {base.joinpath(*parts[:count]) for count in range(len(parts) + 1)}
    return sorted(found)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
