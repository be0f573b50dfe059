"""What a user would take instead, on the same frames in one go: ``python -m benchmarks.peers --threads 2``.

Ours through ``Segmenter``, the plain PyTorch implementation of the specification as the stand-in for the reference, and
GroupViT, CLIPSeg, SegFormer and CLIP ViT-B/16 (as MaskCLIP-style methods use it) built from the package
``transformers``, each in PyTorch and in ONNX Runtime. **All weights but micro's are random: this compares time, and
says nothing about accuracy.** Every measurement runs in a process of its own; one JSON line each goes to ``--out``, and
what is there already is not measured again.
"""

from __future__ import annotations

import sys
import tempfile
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.command import add_timing_options, run_command
from benchmarks.making.children import MeasurementError, measure
from benchmarks.making.made_models import MadeModels
from benchmarks.peers.facts import PEERS
from benchmarks.records.machine import machine_name
from benchmarks.records.store import RESULTS, Record, RecordFile
from benchmarks.records.tables import machines, peers_table
from benchmarks.speed.measurement import Measurement, carry_out
from ifseg_rt.cli.values import parse_size, positive
from ifseg_rt.errors import IfsegError, UsageError

_BACKENDS = ("onnxruntime", "torch")


@dataclass(frozen=True)
class Job:
    """One line of the table: its key, and how it is measured."""

    key: dict[str, Any]
    title: str
    run: Callable[[MadeModels], Record]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", nargs="*", default=["micro", "tiny", "base"], help="ours: micro or OFA sizes")
    add("--peer", nargs="*", choices=list(PEERS), default=list(PEERS), help="theirs")
    add("--backend", nargs="+", choices=_BACKENDS, default=list(_BACKENDS), help="run times; torch: ours is plain")
    add("--classes", type=positive, default=12, help="categories, where they can be chosen")
    add("--size", default="512", help="input size of ours; theirs have their own")
    add_timing_options(parser)
    add("--out", type=Path, default=RESULTS / "peers.jsonl", help="JSON lines")
    add("--again", action="store_true", help="measure what the file has already")
    add("--keep", type=Path, help="keep the models made here in this folder, and use those that are in it")
    add("--list", action="store_true", help="only say what would be measured")
    return run_command(parser, _compare, argv)


def plan(options: Namespace) -> list[Job]:
    """Return the lines of the table in order: ours, the stand-in for the reference, theirs.

    Raises:
        UsageError: an invalid size.
    """
    size, frame = parse_size(options.size), parse_size(options.frame)
    jobs = []
    for backend in options.backend:
        way = "plain" if backend == "torch" else "segmenter"
        for model in options.model:
            one = Measurement(way, model, "fp32", size, options.classes, frame, options.threads)
            key = _key(options, model, backend, f"{size[0]}x{size[1]}", options.classes)
            title = f"IFSeg {model}, {'plain PyTorch' if backend == 'torch' else 'ifseg-rt'}"
            jobs.append(Job(key, title, partial(_ours, one, options)))
    for peer in options.peer:
        for backend in options.backend:
            facts = PEERS[peer]
            key = _key(options, peer, backend, f"{facts.side}x{facts.side}", facts.classes or options.classes)
            jobs.append(Job(key, facts.title, partial(_theirs, peer, backend, options)))
    return jobs


def _key(options: Namespace, name: str, backend: str, size: str, classes: int) -> dict[str, Any]:
    frame = "x".join(map(str, parse_size(options.frame)))
    key = {"peer": name, "backend": backend, "size": size, "classes": classes, "frame": frame}
    return key | {"threads": options.threads, "machine": machine_name()}


def _ours(one: Measurement, options: Namespace, models: MadeModels) -> Record:
    record = carry_out(
        one,
        models,
        runs=options.runs,
        warmup=options.warmup,
        seconds=options.seconds,
        keep=options.keep is not None,
    )
    return record | {"gflop_total": record["gflop"]["total"]}


def _theirs(peer: str, backend: str, options: Namespace, models: MadeModels) -> Record:
    arguments = ["--frame", options.frame, "--runs", str(options.runs), "--warmup", str(options.warmup)]
    arguments += ["--threads", str(options.threads)] if options.threads else []
    arguments += ["--seconds", str(options.seconds)] if options.seconds else []
    classes = ["--classes", str(options.classes)]
    if backend == "torch":
        return measure("benchmarks.peers.process", [peer, *classes, *arguments])
    models.folder.mkdir(parents=True, exist_ok=True)
    path = models.folder / f"{peer}_{options.classes}.onnx"
    try:
        facts = measure("benchmarks.peers.process", [peer, *classes, "--onnx", str(path)])
        return facts | measure("benchmarks.speed.processes.session", [str(path), *arguments])
    finally:
        models.forget(path)


def _compare(options: Namespace) -> None:
    jobs = plan(options)
    if options.list:
        sys.stdout.write("".join(f"{job.title}, {job.key['backend']}, {job.key['size']}\n" for job in jobs))
        return
    if options.peer and find_spec("transformers") is None:
        raise UsageError(
            "the peers are built from the package transformers, which is not installed",
            hint="pip install transformers, or only ours: --peer",
        )
    store = RecordFile(options.out, again=options.again)
    failures = 0
    with tempfile.TemporaryDirectory(prefix="ifseg-rt-") as scratch:
        models = MadeModels(options.keep or Path(scratch))
        for job in jobs:
            failures += not _one(job, models, store)
    wanted = [job.key for job in jobs]
    found = [record for record in store.records() if record.get("key") in wanted]
    sys.stdout.write(f"{peers_table(found)}\n{machines(found)}")
    if failures:
        raise IfsegError(f"{failures} of {len(jobs)} measurements failed", hint="run it again to retry them")


def _one(job: Job, models: MadeModels, store: RecordFile) -> bool:
    """Measure one line unless it is there; ``False`` when it failed, which is recorded too."""
    label = f"{job.title}, {job.key['backend']}"
    if store.has(job.key):
        sys.stderr.write(f"{label}: already in {store.path}\n")
        return True
    sys.stderr.write(f"{label} ...\n")
    base = {"key": job.key, "name": job.title}
    try:
        record = job.run(models)
    except MeasurementError as error:
        sys.stderr.write(f"  failed: {error}\n")
        store.add({**base, "benchmark": "peers", "failed": str(error)})
        return False
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    store.add({**record, **base, "benchmark": "peers", "measured": now})
    return True
