"""Carries out the items of ``benchmarks.gpu``: models made when needed, one process each, failures kept as records."""

from __future__ import annotations

import math
import time
from argparse import Namespace
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu.items import TORCH_PATHS, Item, Size
from benchmarks.gpu.tables import BASELINE
from benchmarks.making.children import MeasurementError, measure, run_child
from benchmarks.making.made_models import MadeModels
from benchmarks.records.machine import machine_facts
from benchmarks.records.store import Record, failed
from ifseg_rt.artifact.shipped import default_model_path
from ifseg_rt.machine import Machine

# An export of large compares on the CPU what the GPU is not needed for; a build tries out kernels.
_EXPORT_SECONDS = 1800.0


class GpuMeasurements:
    """One run of the command.

    Args:
        folder: for the models made.
        options: of the command: ``runs``, ``warmup``, ``seconds``, ``timeout``, ``full``.
        machine: with a GPU.
        title: the GPU in one line.
        deadline: of ``time.monotonic()``; what is not done then is given up.
    """

    def __init__(
        self, folder: Path, options: Namespace, machine: Machine, title: str, deadline: float = math.inf
    ) -> None:
        self._deadline = deadline
        self._models = MadeModels(folder, lambda: self._within(_EXPORT_SECONDS))
        self._options = options
        self._capability = machine.gpu.compute_capability if machine.gpu else None
        self._title = title
        self._refused: dict[str, str] = {}

    def learn(self, records: Iterable[Record]) -> None:
        """Remember which TensorRT does not run here: nothing is built for it then."""
        for record in records:
            key = record.get("key", {})
            if key.get("item") == "runs":
                self._refused.pop(key["path"], None)
                if failed(record):
                    self._refused[key["path"]] = str(record["failed"])

    def measure(self, item: Item, key: dict[str, Any]) -> Record | None:
        """Return the record of one item; of one that failed, with its first line as ``failed``.

        ``None`` where the deadline came in between: that says nothing about the item.
        """
        record: Record = {"benchmark": "gpu", "key": key}
        try:
            found = self._carry_out(item)
        except MeasurementError as error:
            if time.monotonic() >= self._deadline:
                return None
            found = {"failed": str(error)}
        except Exception as error:  # a file cut short, a full disk: the other items still count
            found = {"failed": f"{type(error).__name__}: {error}"}
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        facts = {**machine_facts(), "gpu": self._title}
        return record | found | {"measured": now, "compute_capability": self._capability, "machine": facts}

    def _carry_out(self, item: Item) -> Record:
        options = self._options
        if item.kind == "kernels":
            return measure("benchmarks.gpu.processes.kernels", [], timeout=self._within(options.timeout))
        if item.kind == "adaptation":
            checkpoint = self._models.checkpoint(item.model, item.classes)
            arguments = [str(checkpoint), *(["--full"] if options.full else [])]
            return measure("benchmarks.gpu.processes.adaptation", arguments, timeout=self._within(options.timeout))
        if item.kind == "runs":
            return self._probe(item)
        return self._frame(item)

    def _probe(self, item: Item) -> Record:
        """Run the shipped model, as an engine where the path needs one, and compare its labels with the CPU's."""
        shipped = model = default_model_path()
        if item.builds_engine:
            model = self._models.folder / f"probe.{item.path}.engine"
            try:
                self._build(shipped, model, item.path)
            except MeasurementError as error:
                raise MeasurementError(f"no engine could be built: {error}") from None
        timing = ["--frame", _text(item.frame), "--runs", "20", "--warmup", "3", "--against", str(shipped)]
        arguments = [str(model), "--device", _device(item), *timing]
        return measure("benchmarks.gpu.processes.segmenter", arguments, timeout=self._within(self._options.timeout))

    def _frame(self, item: Item) -> Record:
        labels = self._labels_file(item)
        arguments = ["--frame", _text(item.frame), "--labels", str(labels)]
        for option in ("runs", "warmup", "seconds"):
            value = getattr(self._options, option)
            arguments += [f"--{option}", str(value)] if value is not None else []
        if item.path in TORCH_PATHS:
            module = "benchmarks.gpu.processes.torch_model"
            checkpoint = self._models.checkpoint(item.model, item.classes)
            chosen = [str(checkpoint), "--path", item.path, "--size", _text(item.size)]
        else:
            module = "benchmarks.gpu.processes.segmenter"
            if item.runtime in self._refused:
                raise MeasurementError(f"it does not run here: {self._refused[item.runtime]}")
            # Biases as tables, as export.to_trt has them: nothing depends on what a builder folds.
            model = self._models.onnx(item.model, item.classes, item.size, item.precision, biases="tables")
            if item.builds_engine:
                engine = model.with_suffix(f".{item.runtime}.engine")
                if not engine.is_file():
                    self._build(model, engine, item.runtime)
                model = engine
            chosen = [str(model), "--device", _device(item)]
        found = measure(module, [*chosen, *arguments], timeout=self._within(self._options.timeout))
        return found | self._agreement(item, labels)

    def _within(self, seconds: float) -> float:
        """What is left of so many seconds before the deadline, at least one."""
        return max(1.0, min(seconds, self._deadline - time.monotonic()))

    def _build(self, model: Path, engine: Path, runtime: str) -> None:
        engine.parent.mkdir(parents=True, exist_ok=True)
        arguments = [str(model), "-o", str(engine), "--runtime", runtime]
        run_child("export.to_trt", arguments, timeout=self._within(_EXPORT_SECONDS))

    def _agreement(self, item: Item, labels: Path) -> dict[str, float]:
        """Share of pixels labelled as the plain implementation does; nothing where that did not run."""
        reference = self._labels_file(Item(**{**vars(item), "path": BASELINE}))
        if not (reference.is_file() and labels.is_file()):
            return {}
        same = np.load(reference) == np.load(labels)
        return {"label_agreement": round(float(same.mean()), 5)}

    def _labels_file(self, item: Item) -> Path:
        stem = f"{item.model}_{item.classes}_{_text(item.size)}_{_text(item.frame)}_{item.path}"
        self._models.folder.mkdir(parents=True, exist_ok=True)
        return self._models.folder / f"labels_{stem}.npy"


def _device(item: Item) -> str:
    return "auto" if item.builds_engine else "cuda"


def _text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
