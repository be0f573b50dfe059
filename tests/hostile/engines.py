"""Pairs of an engine and its sidecar, sealed by a stranger or edited: no code for the CPU runs unless allowed."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import random
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.faults.making.tiny_model import write_model
from tests.hostile.models import Case, _edit, seal
from tests.hostile.watch import judged


def cases(seed: int, count: int) -> Iterator[Case]:
    """``count`` pairs by that seed."""
    with tempfile.TemporaryDirectory() as folder:
        model = json.loads(write_model(Path(folder)).with_suffix(".json").read_text())
    for number in range(count):
        yield f"pair {number}", partial(_run, f"{seed}/{number}", model)


class _Logger:
    pass


class _Runtime:
    """Stands where TensorRT would be: keeps what it was given."""

    given: bytes | None = None

    def __init__(self, logger: object) -> None:
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, data: bytes) -> object:
        _Runtime.given = bytes(data)
        if self.engine_host_code_allowed:
            raise AssertionError("code for the CPU would have run")
        return object()


def _pair(dice: random.Random, folder: Path, model: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    path = folder / dice.choice(("model.engine", "model.plan", "model.trt"))
    runtime = dice.choice(("tensorrt", "tensorrt_rtx"))
    data = (b"ftrt" if runtime == "tensorrt" else b"vtrt") + dice.randbytes(dice.randrange(1, 3000))
    path.write_bytes(data)
    sidecar = {
        "schema_version": 2,
        "kind": "ifseg-rt-engine",
        "engine": {"name": path.name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()},
        "onnx": model["files"][0],
        "model": model,
        "build": {
            "runtime": runtime,
            "version": "10.3.0",
            "platform": "linux-x86_64",
            "compute_capabilities": ["8.6"],
            "version_compatible": runtime == "tensorrt" and dice.random() < 0.5,
        },
        "parity": {"skipped": "not compared"},
    }
    return path, sidecar


def _run(seed: str, model: dict[str, Any]) -> str | None:
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        path, sidecar = _pair(dice, Path(folder), copy.deepcopy(model))
        place = path.with_name(path.name + ".json")
        seal(place, sidecar)
        what = dice.choice(("as it is", "sealed", "edited", "spoiled", "odd"))
        if what in ("sealed", "edited"):
            _edit(dice, sidecar)
            if what == "sealed":
                seal(place, sidecar)
            else:
                place.write_text(json.dumps(sidecar))
        elif what == "spoiled":
            data = bytearray(path.read_bytes())
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
            path.write_bytes(bytes(data))
        elif what == "odd":
            target = dice.choice((path, place))
            target.unlink()
            dice.choice((os.mkfifo, lambda p: p.symlink_to("/dev/zero"), lambda p: p.mkdir()))(target)
        return judged(lambda: _opened(path, what))


def _opened(path: Path, what: str) -> str | None:
    from ifseg_rt.machine import GpuFacts, Machine
    from ifseg_rt.tensorrt.installed import TensorRt
    from ifseg_rt.tensorrt.loading import CheckedEngine, load_engine
    from ifseg_rt.tensorrt.sidecar import read_engine

    machine = Machine("linux-x86_64", GpuFacts("a GPU", "8.6", 1 << 34, "13.0"))
    _Runtime.given = None
    artifact = read_engine(path)
    module = SimpleNamespace(ILogger=_Logger, Runtime=_Runtime)
    load_engine(CheckedEngine(path, artifact, TensorRt(artifact.build.runtime, module, "10.3.0"), machine))
    given = _Runtime.given or b""
    if hashlib.sha256(given).hexdigest() != artifact.engine.sha256:
        return "other bytes were loaded than were hashed"
    return f"accepted: {what}" if what in ("edited", "spoiled", "odd") else None
