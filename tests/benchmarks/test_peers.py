"""The comparison with other models: its plan, one of each kind for real, and what is missing said clearly."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from benchmarks.making.children import MeasurementError
from benchmarks.peers import process as peer_run
from benchmarks.peers import run as peers
from benchmarks.peers.facts import PEERS
from benchmarks.speed.processes import session as session_run

QUICK = ["--frame", "48x64", "--runs", "1", "--warmup", "0", "--threads", "1", "--classes", "3"]
needs_transformers = pytest.mark.skipif(
    find_spec("transformers") is None or find_spec("torch") is None,
    reason="the peers are built from the package transformers: pip install transformers",
)


def test_the_plan_puts_everything_on_both_run_times(capsys: pytest.CaptureFixture[str]) -> None:
    assert peers.main(["--model", "tiny", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["IFSeg tiny, ifseg-rt, onnxruntime, 512x512", "IFSeg tiny, plain PyTorch, torch, 512x512"]
    assert len(lines) == 2 + 2 * len(PEERS)
    assert "SegFormer-b2, torch, 512x512" in lines


def test_without_the_package_ours_can_still_be_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    out = ["--out", str(tmp_path / "peers.jsonl")]
    assert peers.main(out) == 2
    said = capsys.readouterr().err
    assert "transformers, which is not installed" in said
    assert "pip install transformers" in said
    assert peers.main(["--peer", "--model", *out]) == 0


def test_lines_are_kept_and_failures_stop_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(module: str, arguments: list[str]) -> dict[str, Any]:
        if arguments[0] == "clipseg":
            raise MeasurementError("too large")
        figures = {"median": 5.0, "p95": 6.0, "p99": 7.0, "min": 4.0}
        return {"stages_ms": {"inference": figures, "total": figures}, "parameters_m": 30.0, "gflop_total": 8.0}

    monkeypatch.setattr(peers, "measure", answer)
    monkeypatch.setattr(peers, "find_spec", lambda name: object())
    out = tmp_path / "peers.jsonl"
    arguments = ["--model", "--peer", "groupvit", "clipseg", "--out", str(out), *QUICK]
    assert peers.main(arguments) == 1
    said = capsys.readouterr()
    assert "2 of 4 measurements failed" in said.err
    assert "| GroupViT | torch | 224x224 | 3 | 30.0 | 8.0 | 5.00 | 5.00 | - |" in said.out
    assert "random" in said.out
    assert "CLIPSeg" not in said.out
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [record.get("failed") for record in records] == [None, None, "too large", "too large"]
    assert peers.main(arguments) == 1
    assert "GroupViT, torch: already in" in capsys.readouterr().err


@needs_transformers
@pytest.mark.parametrize("name", sorted(PEERS))
def test_every_peer_scores_every_category(name: str) -> None:
    import torch

    from benchmarks.peers.models import build_peer

    with torch.device("meta"):  # shapes only: nothing is computed
        model = build_peer(name, 3)
        scores = model(torch.zeros(1, 3, PEERS[name].side, PEERS[name].side))
    assert scores.shape[:2] == (1, PEERS[name].classes or 3)
    assert scores.shape[2] == scores.shape[3] >= 14


@needs_transformers
def test_one_peer_on_both_run_times(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "groupvit.onnx"
    answers = []
    for run, arguments in (
        (peer_run.main, ["groupvit", *QUICK]),
        (peer_run.main, ["groupvit", "--classes", "3", "--onnx", str(path)]),
        (session_run.main, [str(path), *QUICK[:-2]]),
    ):
        assert run(arguments) == 0
        answers.append(json.loads(capsys.readouterr().out.splitlines()[-1]))
    eager, facts, graph = answers
    assert eager["gflop_total"] == facts["gflop_total"] == pytest.approx(8.0, rel=0.02)
    assert graph["graph_gflop"] == pytest.approx(8.0, rel=0.02)
    assert eager["parameters_m"] == facts["parameters_m"] > 25
    assert set(eager["stages_ms"]) == set(graph["stages_ms"]) == {"preprocess", "inference", "labels", "total"}
