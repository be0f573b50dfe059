"""Stage times: the measuring process, the stored record and the table made from it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import report, timing_run


@pytest.fixture(scope="module")
def record(color_model: Path, root: Path) -> dict:
    options = ["--frame", "48x64", "--frames", "3", "--warmup", "1", "--threads", "1", "--label", "tiny"]
    command = [sys.executable, "-m", "benchmarks.timing_run", str(color_model), *options]
    answer = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return json.loads(answer.stdout)


def test_a_record_says_what_was_measured_on_what(record: dict) -> None:
    assert (record["model"], record["size"], record["frame"], record["frames"]) == ("tiny", "64x64", "48x64", 3)
    assert set(record["stages_ms"]) == {"preprocess", "inference", "refinement", "upsampling", "total"}
    for figures in record["stages_ms"].values():
        assert 0 <= figures["min"] <= figures["median"] <= figures["p95"]
    assert record["stages_ms"]["total"]["median"] > record["stages_ms"]["inference"]["median"]
    assert record["peak_rss_mb"] > 10
    assert {"cpu", "cores", "python", "packages"} <= set(record["machine"])


def test_report_sets_our_time_beside_the_reference(
    record: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = {**record, "size": "512x512", "categories": 12}
    stored["stages_ms"] = {**record["stages_ms"], "total": {"median": 67.2, "p95": 70.0, "min": 60.0}}
    other = {**record, "model": "unheard-of"}
    lines = tmp_path / "results.jsonl"
    lines.write_text(f"{json.dumps(stored)}\n{json.dumps(other)}\n")
    assert report.main([str(lines)]) == 0
    text = capsys.readouterr().out
    row = next(line for line in text.splitlines() if line.startswith("| tiny"))
    assert row.endswith("| 67.2 | 70.0 | 672 | 10.0x |")
    assert next(line for line in text.splitlines() if line.startswith("| unheard-of")).endswith("| - | - |")
    assert "alinlab/ifseg" in text
    assert text.count("Measured on") == 1


def test_report_reads_quality_records(tmp_path: Path, record: dict, capsys: pytest.CaptureFixture[str]) -> None:
    scores = {"model": "adapted", "refined": True, "miou": 0.4, "all_accuracy": 0.8, "mean_accuracy": 0.5}
    stored = {"benchmark": "miou", "dataset": "set", "pictures": 3, "rows": [scores], "machine": record["machine"]}
    (tmp_path / "miou.json").write_text(json.dumps(stored, indent=1))
    assert report.main([str(tmp_path / "miou.json")]) == 0
    assert "| set (3) | adapted | on | 40.0 | 80.0 | 50.0 |" in capsys.readouterr().out


def test_report_refuses_what_it_does_not_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main([str(tmp_path / "absent.jsonl")]) == 3
    (tmp_path / "text").write_text("no json")
    assert report.main([str(tmp_path / "text")]) == 3
    (tmp_path / "kind.json").write_text('{"benchmark": "memory"}')
    assert report.main([str(tmp_path / "kind.json")]) == 3
    errors = capsys.readouterr().err
    assert "absent.jsonl" in errors
    assert "neither JSON nor JSON lines" in errors
    assert "memory" in errors


def test_the_measuring_process_does_not_load_pytorch(root: Path) -> None:
    program = "import sys, benchmarks.timing_run; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_synthetic_frames_are_the_same_every_time() -> None:
    first, again = timing_run.synthetic_frames(24, 32, 2), timing_run.synthetic_frames(24, 32, 2)
    assert (first[0] == again[0]).all()
    assert first[0].shape == (24, 32, 3)
    assert (first[0] != first[1]).any()


def test_reference_figures_cover_the_models_that_are_timed(root: Path) -> None:
    reference = json.loads((root / "benchmarks" / "reference_timings.json").read_text())
    assert {(row["model"], row["categories"]) for row in reference["rows"]} >= {("tiny", 12), ("base", 12)}
    assert reference["provenance"]
