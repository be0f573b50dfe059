"""What a measurement ran on: a figure without its machine cannot be compared."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = (
    "ifseg-rt",
    "numpy",
    "opencv-python",
    "onnxruntime",
    "onnxruntime-gpu",
    "torch",
    "transformers",
    "tensorrt",
    "tensorrt_rtx_cu13",
    "tensorrt_rtx_cu12",
    "cuda-core",
)


def processor_name() -> str:
    """Return the processor's name as the operating system tells it."""
    facts = Path("/proc/cpuinfo")
    if facts.is_file():
        for line in facts.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(("model name", "Model")):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Return how many cores this process may use, which in a container is fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def package_versions() -> dict[str, str]:
    """Return the installed versions of the packages that decide the figures."""
    found: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def memory_gb() -> float | None:
    """Return the machine's memory in GB; ``None`` where the system does not tell."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, OSError, ValueError):
        return None


def peak_memory_mb() -> float | None:
    """Return the largest resident size this process has had, in MB; ``None`` where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if platform.system() == "Darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)


def machine_name() -> str:
    """Return processor and number of cores: figures of two machines are never taken for one another."""
    return f"{processor_name()}, {usable_cores()} cores"


def machine_facts() -> dict[str, object]:
    """Return processor, cores, memory, system, Python and package versions, ready for JSON."""
    return {
        "cpu": processor_name(),
        "cores": usable_cores(),
        "memory_gb": memory_gb(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": package_versions(),
    }
