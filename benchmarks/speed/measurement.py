"""One latency measurement: its settings, its key, and how it is carried out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from benchmarks.making.children import measure
from benchmarks.making.made_models import MadeModels
from benchmarks.records.store import Record
from benchmarks.speed.flops import method_flops
from ifseg_rt.errors import UsageError

Size = tuple[int, int]
Way = Literal["segmenter", "plain", "session", "streams"]


@dataclass(frozen=True)
class Measurement:
    """Settings of one measurement.

    Attributes:
        way: ``segmenter`` (the product), ``plain`` (the specification in PyTorch), ``session`` (batches in bare ONNX
            Runtime) or ``streams`` (several segmenters at once).
        model: ``micro``, an OFA size, or the path of a finished ``.onnx``.
        precision: of weights and matrix products.
        size: input height and width.
        classes: number of categories.
        frame: frame height and width.
        threads: of the run time; ``None`` for its own choice.
        batch: pictures per call.
        streams: segmenters at once.
    """

    way: Way
    model: str
    precision: str
    size: Size
    classes: int
    frame: Size
    threads: int | None
    batch: int = 1
    streams: int = 1

    @property
    def backend(self) -> str:
        """The library that runs the model."""
        return "torch" if self.way == "plain" else "onnxruntime"

    @cached_property
    def is_file(self) -> bool:
        """Whether the model exists already and is not made here."""
        return Path(self.model).suffix == ".onnx"

    def key(self, machine: str) -> dict[str, Any]:
        """Return what a figure depends on, ready for JSON."""
        model = self.model
        if self.is_file:
            from ifseg_rt import read_artifact

            model = f"{Path(model).stem} {read_artifact(model).files[0].sha256[:12]}"
        settings = asdict(self) | {"model": model, "size": _text(self.size), "frame": _text(self.frame)}
        return settings | {"machine": machine}

    def label(self) -> str:
        """Return one line for people."""
        parts = [Path(self.model).stem, self.backend, self.precision, _text(self.size), f"{self.classes} categories"]
        parts += [f"{self.threads} threads"] if self.threads else []
        parts += [f"batch {self.batch}"] if self.way == "session" else []
        parts += [f"{self.streams} streams"] if self.way == "streams" else []
        return ", ".join(parts)


def read_finished(path: str) -> dict[str, Any]:
    """Return size, classes and precision of a finished model, as :class:`Measurement` takes them.

    Raises:
        ArtifactError: the model or its sidecar is missing or broken.
    """
    from ifseg_rt import read_artifact

    artifact = read_artifact(path)
    size = (artifact.preprocess.height, artifact.preprocess.width)
    return {"size": size, "classes": len(artifact.categories), "precision": artifact.precision}


def carry_out(
    measurement: Measurement, models: MadeModels, *, runs: int, warmup: int, seconds: float | None, keep: bool
) -> Record:
    """Make the model where needed, time it in a process of its own, and return the record without its key.

    Args:
        measurement: what to measure.
        models: where models are made.
        runs: timed frames.
        warmup: frames before.
        seconds: most seconds of timed frames.
        keep: leave the exported model where it is.

    Raises:
        MeasurementError: a step failed; the message is its own.
        UsageError: a finished model with settings that need one of its own.
    """
    m = measurement
    arguments = ["--frame", _text(m.frame), "--runs", str(runs), "--warmup", str(warmup)]
    arguments += ["--threads", str(m.threads)] if m.threads else []
    arguments += ["--seconds", str(seconds)] if seconds else []
    if m.is_file and m.way in ("plain", "session"):
        raise UsageError(f"{m.model} is finished: its back end and batch cannot be chosen any more")
    if m.way == "plain":
        checkpoint = models.checkpoint(m.model, m.classes)
        made = None
        options = [str(checkpoint), "--size", _text(m.size), "--precision", m.precision]
        record = measure("benchmarks.speed.processes.torch_model", [*options, *arguments])
    else:
        made = None if m.is_file else models.onnx(m.model, m.classes, m.size, m.precision, m.batch)
        extra = ["--streams", str(m.streams)] if m.way == "streams" else []
        record = measure(f"benchmarks.speed.processes.{m.way}", [str(made or m.model), *extra, *arguments])
    if made is not None and not keep:
        models.forget(made)
    record |= {"benchmark": "latency", "measured": datetime.now(timezone.utc).isoformat(timespec="seconds")}
    if not m.is_file:
        facts = models.facts(m.model, m.classes)
        record |= {"gflop": _method_gflop(m, facts["prompt"]), "parameters_m": facts["parameters_m"]}
    return record | shares(record)


def shares(record: Mapping[str, Any]) -> dict[str, float]:
    """Return how much of the machine's own float32 rate the model part reached: of the method's operations
    (``share``) and of those really executed (``graph_share``); empty where something was not measured."""
    rate = record.get("gemm_gflops")
    inference = record["stages_ms"].get("inference")
    if not rate or not inference:
        return {}
    reachable = rate * inference["median"] / 1e3 / record.get("batch", 1)
    counts = {"share": (record.get("gflop") or {}).get("total"), "graph_share": record.get("graph_gflop")}
    if counts["graph_share"]:
        counts["graph_share"] /= record.get("batch", 1)
    return {name: round(count / reachable, 4) for name, count in counts.items() if count}


def _method_gflop(measurement: Measurement, prompt: int) -> dict[str, float]:
    from train.models.ofa.config import PRESETS

    return method_flops(PRESETS[measurement.model], measurement.size, prompt, measurement.classes)


def _text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
