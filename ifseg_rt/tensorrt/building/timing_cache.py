"""Keeps what a builder measured, per version and device, so that the next build of full TensorRT measures less."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from ifseg_rt.cache import file_lock, replace_file
from ifseg_rt.machine import GpuFacts
from ifseg_rt.tensorrt.installed import TensorRt

_LOG = logging.getLogger(__name__)


def cache_file(folder: Path, tensorrt: TensorRt, gpu: GpuFacts) -> Path:
    """Where the timings of one version on one kind of GPU lie."""
    device = re.sub(r"[^A-Za-z0-9]+", "-", gpu.name).strip("-")
    return folder / f"{tensorrt.name}-{tensorrt.version}-{device}-sm{gpu.compute_capability}.timing"


def load_timings(config: Any, path: Path) -> None:  # noqa: ANN401 - an IBuilderConfig
    """Gives a builder what is known. A cache that cannot be read or used costs time, nothing else."""
    try:
        with file_lock(path.with_name(path.name + ".lock")):
            known = path.read_bytes() if path.is_file() else b""
    except OSError as error:
        _LOG.debug("the timing cache %s cannot be read: %s", path, error)
        known = b""
    cache = config.create_timing_cache(known)
    if cache is None or not config.set_timing_cache(cache, False):
        _LOG.debug("the timing cache %s is of another machine; starting an empty one", path)
        empty = config.create_timing_cache(b"")
        if empty is not None:
            config.set_timing_cache(empty, True)


def store_timings(config: Any, path: Path) -> None:  # noqa: ANN401 - an IBuilderConfig
    """Adds what this build measured to what other builds have stored meanwhile."""
    cache = config.get_timing_cache()
    if cache is None:
        return
    try:
        with file_lock(path.with_name(path.name + ".lock")):
            if path.is_file():
                stored = config.create_timing_cache(path.read_bytes())
                if stored is not None:
                    cache.combine(stored, False)
            serialised = cache.serialize()
            if serialised is None:
                return
            replace_file(path, bytes(memoryview(serialised)))
    except OSError as error:
        _LOG.debug("the timing cache %s cannot be kept: %s", path, error)
