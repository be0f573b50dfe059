"""Tables of what ``benchmarks.gpu`` measured: frames along every path, kernels against their floor, adaptation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.records.markdown import markdown_table, milliseconds, percent
from benchmarks.records.store import Record, failed, latest

BASELINE = "plain"
_PATHS = {
    "plain": "plain PyTorch fp16",
    "compile": "torch.compile fp16",
    "frozen": "frozen, CUDA graph, fp16",
    "frozen-kernels": "frozen and our kernels, CUDA graph, fp16",
    "onnx-cuda": "ifseg-rt, ONNX Runtime CUDA fp16",
    "tensorrt": "ifseg-rt, TensorRT fp16",
    "tensorrt_rtx": "ifseg-rt, TensorRT-RTX fp16",
    "tensorrt-int8": "ifseg-rt, TensorRT int8",
    "tensorrt_rtx-int8": "ifseg-rt, TensorRT-RTX int8",
}


def gpu_table(records: Iterable[Record]) -> str:
    """Return frames along every path, and what became of those that did not run."""
    found = _of_item(records, "frame")
    baselines = {_setting(record): record for record in found if record["key"]["path"] == BASELINE}
    rows = [_frame_row(record, baselines.get(_setting(record))) for record in found]
    header = [
        "model",
        "categories",
        "input",
        "path",
        "host to host ms",
        "p95",
        "on the GPU ms",
        "faster by",
        "labels %",
    ]
    parts = [markdown_table(header, rows)] if rows else []
    parts += [f"{_verdict(record)}\n" for record in _of_item(records, "runs")]
    return "\n".join(parts)


def kernel_table(records: Iterable[Record]) -> str:
    """Return our kernels against the time that moving their bytes once takes at the measured bandwidth."""
    rows = []
    for record in _of_item(records, "kernels"):
        if failed(record):
            return f"Kernels were not timed: {record['failed']}\n"
        for timed in record["kernels"]:
            if failed(timed):
                rows.append([timed["kernel"], timed["shape"], f"failed: {timed['failed']}", "-", "-"])
                continue
            taken, floor = timed["ms"], timed["floor_ms"]
            row = [timed["kernel"], timed["shape"], _microseconds(taken), _microseconds(floor), f"{taken / floor:.1f}x"]
            rows.append(row)
    return markdown_table(["kernel", "work", "us", "floor us", "of the floor"], rows) if rows else ""


def adaptation_table(records: Iterable[Record]) -> str:
    """Return how long an adaptation takes, measured whole or extrapolated from some steps."""
    rows: list[list[object]] = []
    for record in _of_item(records, "adaptation"):
        key = record["key"]
        if failed(record):
            rows.append([key["model"], key["classes"], "-", "-", f"failed: {record['failed']}"])
            continue
        how = "measured" if record["steps_timed"] == record["steps"] else f"from {record['steps_timed']} steps"
        work = f"{record['steps']} x {record['batch_size']}"
        whole = f"{record['seconds']:.0f} s, {how}"
        rows.append([key["model"], key["classes"], work, milliseconds(record["step_ms"]["median"]), whole])
    return markdown_table(["model", "categories", "steps x batch", "ms per step", "whole run"], rows) if rows else ""


def _frame_row(record: Record, baseline: Record | None) -> list[object]:
    key = record["key"]
    row: list[object] = [key["model"], key["classes"], key["size"], _PATHS.get(key["path"], key["path"])]
    if failed(record):
        return [*row, f"failed: {record['failed']}", "-", "-", "-", "-"]
    host, device = record.get("host_ms"), record.get("device_ms")
    faster = "-"
    if baseline is not None and not failed(baseline) and host and baseline.get("host_ms"):
        faster = f"{baseline['host_ms']['median'] / host['median']:.1f}x"
    return [
        *row,
        milliseconds(host["median"]) if host else "-",
        milliseconds(host["p95"]) if host else "-",
        milliseconds(device["median"]) if device else "-",
        faster,
        percent(record.get("label_agreement")),
    ]


def _verdict(record: Record) -> str:
    """One line: does this run time work on this GPU at all."""
    path = record["key"]["path"]
    title = {"onnx-cuda": "ONNX Runtime CUDA", "tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}.get(path, path)
    where = f"compute capability {record['compute_capability']}" if record.get("compute_capability") else "this GPU"
    if failed(record):
        return f"{title} did not run on {where}: {record['failed']}"
    agreement = record.get("label_agreement")
    alike = "" if agreement is None else f" {percent(agreement)} % of its labels are the CPU's."
    return f"{title} runs on {where}.{alike}"


def _of_item(records: Iterable[Record], item: str) -> list[Record]:
    return [r for r in latest(records) if r.get("benchmark") == "gpu" and r["key"]["item"] == item]


def _setting(record: Record) -> tuple[Any, ...]:
    key = record["key"]
    return key["model"], key["classes"], key["size"], key["frame"], key["machine"]


def _microseconds(value: float) -> str:
    return f"{1e3 * value:.1f}"
