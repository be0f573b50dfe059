"""The report: tables from records, into the README, and the check that both agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report
from benchmarks.records.tables import costs_table, latency_table, peers_table, speedup_table

MACHINE = {"cpu": "Test CPU", "cores": 2, "system": "Linux", "python": "3.12", "packages": {"numpy": "2.0"}}


def figures(median: float) -> dict[str, float]:
    return {"median": median, "p95": median + 1, "p99": median + 2, "min": median - 0.5}


def latency_record(way: str = "segmenter", total: float = 100.0, **key: Any) -> dict[str, Any]:
    settings = {"way": way, "model": "tiny", "precision": "fp32", "size": "512x512", "classes": 12}
    settings |= {"frame": "480x640", "threads": 2, "batch": 1, "streams": 1, "machine": "Test CPU, 2 cores", **key}
    return {
        "benchmark": "latency",
        "key": settings,
        "stages_ms": {"preprocess": figures(0.5), "inference": figures(total - 2), "total": figures(total)},
        "runs": 30,
        "model_mb": 200.4,
        "load_ms": 500.0,
        "first_label_ms": 1234.0,
        "peak_rss_mb": 432.1,
        "gflop": {"total": 65.62},
        "gemm_gflops": 400.0,
        "share": 0.75,
        "machine": MACHINE,
    }


def quality_record() -> dict[str, Any]:
    scores = {"model": "adapted", "refined": True, "miou": 0.4, "all_accuracy": 0.8, "mean_accuracy": 0.5}
    return {"benchmark": "miou", "dataset": "set", "pictures": 3, "rows": [scores], "machine": MACHINE}


@pytest.fixture
def records(tmp_path: Path) -> Path:
    folder = tmp_path / "measured"
    folder.mkdir()
    stored = [latency_record(), latency_record("plain", 500.0), {**latency_record(size="64x64"), "failed": "no"}]
    (folder / "latency.jsonl").write_text("".join(json.dumps(record) + "\n" for record in stored))
    (folder / "quality.json").write_text(json.dumps(quality_record(), indent=1))
    return folder


def test_stage_times_and_percentiles() -> None:
    table = latency_table([latency_record()])
    assert "| tiny | ifseg-rt | fp32 | 12 | 512x512 | 0.50 | 98.0 | - | - | 100 | 101 | 102 | 30 |" in table
    busy = latency_table([{**latency_record(), "other_cores": 0.8}])
    assert "| 100 \\* | 101 |" in busy
    assert "Other processes took more than 0.25 of a core" in busy
    assert "Other processes" not in table
    again = [latency_record(), latency_record(total=50.0)]
    assert latency_table(again).count("| tiny |") == 1
    assert latency_table([{**latency_record(), "failed": "no"}]) == ""


def test_costs_name_the_share_of_the_machines_rate() -> None:
    assert "| tiny | fp32 | 12 | 512x512 | 200 | 0.50 | 1.23 | 432 | 65.6 | 400 | 75.0 |" in costs_table(
        [latency_record(), latency_record("plain")]
    )


def test_speed_up_is_over_the_plain_implementation() -> None:
    table = speedup_table([latency_record(), latency_record("plain", 500.0)])
    assert "| tiny | fp32 | 12 | 512x512 | 500 | 100 | 5.0x |\n" in table
    assert speedup_table([latency_record()]) == ""


def test_peers_stand_beside_us() -> None:
    key = {"peer": "x", "backend": "torch", "size": "224x224", "classes": 12}
    record = {"benchmark": "peers", "key": key, "name": "GroupViT", "parameters_m": 30.04, "gflop_total": 9.0}
    record["stages_ms"] = {"inference": figures(50.0), "total": figures(60.0)}
    assert "| GroupViT | torch | 224x224 | 12 | 30.0 | 9.0 | 50.0 | 60.0 | - |" in peers_table([record])


def test_the_readme_gets_its_tables_and_is_checked(
    records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = tmp_path / "README.md"
    blocks = ["<!-- table: latency -->\nold\n<!-- /table -->", "<!-- table: quality -->\n<!-- /table -->"]
    text = "# Title\n\n" + "\n\ntext\n\n".join(blocks) + "\n"
    readme.write_text(text)
    options = ["--page", str(readme), "--records", str(records)]
    assert report.main([*options, "--check"]) == 1
    assert "disagree from line 4" in capsys.readouterr().err
    assert readme.read_text() == text
    assert report.main(options) == 0
    written = readme.read_text()
    assert "| tiny | ifseg-rt | fp32 |" in written
    assert "| set (3) | adapted | on | 40.0 | 80.0 | 50.0 |" in written
    assert written.count("Measured on Test CPU, 2 cores, Linux, Python") == 1  # the quality record
    assert written.count("Measured on Test CPU, 2 cores, Linux, 2 threads used, Python") == 1
    assert "old" not in written
    assert written.startswith("# Title\n\n<!-- table: latency -->\n")
    assert report.main([*options, "--check"]) == 0
    readme.write_text(written.replace("40.0", "44.0"))
    assert report.main([*options, "--check"]) == 1


@pytest.mark.parametrize(
    "text", ["<!-- table: unheard-of -->\n<!-- /table -->\n", "<!-- table: latency -->\nnever closed\n"]
)
def test_markers_that_cannot_be_filled_are_refused(
    text: str, records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(text)
    assert report.main(["--page", str(readme), "--records", str(records)]) == 2
    assert readme.read_text() == text
    assert capsys.readouterr().err.startswith("error: ")


def test_files_as_arguments_are_only_printed(records: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main([str(records / "quality.json")]) == 0
    assert "| set (3) | adapted | on | 40.0 | 80.0 | 50.0 |" in capsys.readouterr().out


def test_report_refuses_what_it_does_not_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main([str(tmp_path / "absent.jsonl")]) == 3
    (tmp_path / "text").write_text("no json")
    assert report.main([str(tmp_path / "text")]) == 3
    (tmp_path / "kind.json").write_text('{"benchmark": "memory"}')
    assert report.main([str(tmp_path / "kind.json")]) == 3
    assert report.main(["--records", str(tmp_path / "absent")]) == 3
    errors = capsys.readouterr().err
    assert "absent.jsonl" in errors
    assert "neither JSON nor JSON lines" in errors
    assert "memory" in errors


def test_the_results_page_and_its_records_agree(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "<!-- table: " in (root / "docs" / "results.md").read_text(encoding="utf-8")
    assert report.main(["--check"]) == 0, capsys.readouterr().err
