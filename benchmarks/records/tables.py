"""The tables that the README quotes, made from stored measurements and from nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.records.markdown import markdown_table, milliseconds, percent
from benchmarks.records.other_work import CLEAN_BELOW
from benchmarks.records.store import Record, failed, latest

_TIMES_ONLY = "All weights but micro's are random: times only, no accuracy is compared."
_STAR = " \\*"
_STAGES = ("preprocess", "inference", "refinement", "labels")
_BACKENDS = {"segmenter": "ifseg-rt", "plain": "plain PyTorch", "session": "ONNX Runtime", "streams": "ifseg-rt"}


def latency_tables(records: Sequence[Record]) -> str:
    """Return what the latency command prints: stages, costs and the machine."""
    return "\n".join(part for part in (latency_table(records), costs_table(records), machines(records)) if part)


def latency_table(records: Iterable[Record]) -> str:
    """Return median milliseconds per stage, and the percentiles of the whole frame, one line per measurement."""
    rows = []
    for record in _worked(records, "latency"):
        stages, total = record["stages_ms"], record["stages_ms"]["total"]
        rows.append(
            [
                _name(record),
                _BACKENDS[record["key"]["way"]],
                record["key"]["precision"],
                record["key"]["classes"],
                record["key"]["size"],
                *(milliseconds(_median(stages, stage)) for stage in _STAGES),
                milliseconds(total["median"]) + _mark(record),
                milliseconds(total["p95"]),
                milliseconds(total["p99"]),
                record["runs"],
            ]
        )
    header = ["model", "runs on", "precision", "categories", "input", *_STAGES, "total", "p95", "p99", "frames"]
    return _table(header, rows) + _footnote(rows)


def costs_table(records: Iterable[Record]) -> str:
    """Return what a model takes beside time per frame: file, start, memory, and the share of the machine's rate."""
    rows = []
    for record in _worked(records, "latency"):
        if record["key"]["way"] != "segmenter":
            continue
        gflop = (record.get("gflop") or {}).get("total")
        rows.append(
            [
                _name(record),
                record["key"]["precision"],
                record["key"]["classes"],
                record["key"]["size"],
                f"{record['model_mb']:.0f}",
                _seconds(record.get("load_ms")),
                _seconds(record.get("first_label_ms")),
                _number(record.get("peak_rss_mb")),
                _number(gflop, 1),
                _number(record.get("gemm_gflops")),
                percent(record.get("share")),
            ]
        )
    header = ["model", "precision", "categories", "input", "file MB", "load s", "first label s", "peak MB"]
    return _table([*header, "GFLOP", "machine GFLOP/s", "share %"], rows)


def speedup_table(records: Iterable[Record]) -> str:
    """Return our whole frame beside the plain PyTorch implementation of the same model on the same machine."""
    found = list(_worked(records, "latency"))
    same = ("model", "classes", "size", "frame", "machine")
    plain = {_settings(r, same): r for r in found if r["key"]["way"] == "plain" and r["key"]["precision"] == "fp32"}
    rows = []
    for record in found:
        theirs = plain.get(_settings(record, same))
        if record["key"]["way"] != "segmenter" or theirs is None:
            continue
        ours_ms, plain_ms = (r["stages_ms"]["total"]["median"] for r in (record, theirs))
        rows.append(
            [
                _name(record),
                record["key"]["precision"],
                record["key"]["classes"],
                record["key"]["size"],
                milliseconds(plain_ms) + _mark(theirs),
                milliseconds(ours_ms) + _mark(record),
                f"{plain_ms / ours_ms:.1f}x",
            ]
        )
    header = ["model", "precision", "categories", "input", "plain PyTorch ms", "ifseg-rt ms", "faster by"]
    return _table(header, rows) + _footnote(rows)


def peers_table(records: Iterable[Record]) -> str:
    """Return other models on the same frames; weights are random throughout, so this is about time alone."""
    rows = [
        [
            record["name"],
            record["key"]["backend"],
            record["key"]["size"],
            record["key"]["classes"],
            _number(record.get("parameters_m"), 1),
            _number(record.get("gflop_total"), 1),
            milliseconds(_median(record["stages_ms"], "inference")),
            milliseconds(record["stages_ms"]["total"]["median"]) + _mark(record),
            _number(record.get("peak_rss_mb")),
        ]
        for record in _worked(records, "peers")
    ]
    header = ["model", "runs on", "input", "categories", "parameters M", "GFLOP", "network ms", "frame to labels ms"]
    return f"{_table([*header, 'peak MB'], rows)}{_footnote(rows)}\n{_TIMES_ONLY}\n" if rows else ""


def quality_table(records: Iterable[Record]) -> str:
    """Return scores in per cent, one line per set, model and refinement setting."""
    rows = [
        [
            f"{record['dataset']} ({record['pictures']})",
            row["model"],
            "on" if row["refined"] else "off",
            percent(row["miou"]),
            percent(row["all_accuracy"]),
            percent(row["mean_accuracy"]),
        ]
        for record in records
        if record.get("benchmark") == "miou"
        for row in record["rows"]
    ]
    return _table(["set (pictures)", "model", "refinement", "mIoU", "aAcc", "mAcc"], rows)


def precisions_table(records: Iterable[Record]) -> str:
    """Return what every precision costs, each beside float32: error, labels, masks, and scores on the labelled set."""
    rows = [
        [
            record["key"]["precision"],
            f"{record['file_mb']:.0f}",
            f"{100 * record['relative_logit_error']:.2g}",
            f"{100 * record['label_agreement']:.2f}",
            f"{100 * record['worst_picture']:.1f}",
            percent(record["mean_iou"]),
            percent(record.get("miou")),
            percent(record.get("miou_refined")),
        ]
        for record in _worked(records, "precisions")
    ]
    error, labels = "logit error %", "labels as model's %"
    header = ["precision", "file MB", error, labels, "worst picture %", "mIoU to model's masks"]
    return _table([*header, "mIoU", "mIoU, refined"], rows)


def labels_table(records: Iterable[Record]) -> str:
    """Return median milliseconds of every way to labels, one line per case, and how many times faster ours is."""
    ways = ("every class, torch", "every class, cv2", "running maximum")
    rows = []
    for record in records:
        key, spent = record["key"], record["median_ms"]
        ours = spent["ifseg-rt"]
        rows.append(
            [
                f"{key['classes']} classes, {key['content']}",
                f"{key['width']}x{key['height']}",
                *(milliseconds(spent.get(way)) for way in ways),
                milliseconds(ours),
                f"{spent.get(ways[0], spent[ways[1]]) / ours:.0f}",
            ]
        )
    header = ["scores", "frame", "torch", "cv2 + NumPy", "running maximum", "ifseg-rt", "times faster than torch"]
    return _table(header, rows)


def machines(records: Iterable[Record]) -> str:
    """Return one line per machine and set of versions that the records were measured on."""
    lines = dict.fromkeys(machine_line(record) for record in records if "machine" in record)
    return "".join(f"Measured on {line}.\n" for line in lines)


def machine_line(record: Record) -> str:
    """Return what the record was measured on."""
    machine = record["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    where = f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}"
    if machine.get("gpu"):
        where = f"{machine['gpu']}, {where}"
    threads = (record.get("key") or {}).get("threads")
    if threads:
        where += f", {threads} thread{'s' if threads > 1 else ''} used"
    return f"{where}, Python {machine['python']}, {packages}"


def _worked(records: Iterable[Record], benchmark: str) -> list[Record]:
    found = [record for record in latest(records) if record.get("benchmark") == benchmark]
    return [record for record in found if not failed(record)]


def _settings(record: Record, names: Sequence[str]) -> tuple[Any, ...]:
    return tuple(record["key"][name] for name in names)


def _name(record: Record) -> str:
    return str(record["key"]["model"]).split(" ")[0]


def _median(stages: dict[str, Any], stage: str) -> float | None:
    return stages[stage]["median"] if stage in stages else None


def _mark(record: Record) -> str:
    """A star behind a time that others worked beside."""
    return _STAR if (record.get("other_cores") or 0.0) > CLEAN_BELOW else ""


def _footnote(rows: Sequence[Sequence[object]]) -> str:
    starred = any(str(cell).endswith(_STAR) for row in rows for cell in row)
    return f"\n{_STAR.strip()} Other processes took more than {CLEAN_BELOW} of a core meanwhile.\n" if starred else ""


def _number(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value / 1e3:.2f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    return markdown_table(header, rows) if rows else ""
