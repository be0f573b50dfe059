"""The timing of labels at frame resolution: its ways agree, and its records make its table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import label_times
from benchmarks.label_times import Case, running_maximum, scores_of, ways_of
from benchmarks.records.tables import labels_table
from ifseg_rt.upsampling.labels import upsample_labels

SMALL = Case("smooth", 5, 48, 64)


@pytest.mark.parametrize("content", ["smooth", "noise"])
def test_ways_agree(content: str) -> None:
    case = Case(content, 7, 60, 80)
    scores = scores_of(case)
    assert scores.shape == (7, 32, 32)
    np.testing.assert_array_equal(scores, scores_of(case))
    labels = upsample_labels(scores, 60, 80)
    np.testing.assert_array_equal(running_maximum(scores, 60, 80), labels)
    for name, way in ways_of(case).items():
        found = np.asarray(way()).reshape(60, 80)
        assert (found != labels).mean() < 1e-3, name  # the libraries' own resizing rounds otherwise


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(label_times, "CASES", (SMALL,))
    out = tmp_path / "labels.jsonl"
    assert label_times.main(["--runs", "2", "--out", str(out)]) == 0
    record = json.loads(out.read_text())
    assert (record["benchmark"], record["equal"], record["key"]["classes"]) == ("labels", True, 5)
    assert set(record["median_ms"]) >= {"ifseg-rt", "running maximum", "every class, cv2"}
    table = capsys.readouterr().out
    assert table == labels_table([record])
    assert "| 5 classes, smooth | 64x48 |" in table


def test_a_wrong_label_is_no_measurement(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(label_times, "CASES", (SMALL,))
    monkeypatch.setattr(label_times, "running_maximum", lambda *_: np.full((48, 64), 99))
    assert label_times.main([]) == 1
    assert "differ from the full evaluation" in capsys.readouterr().err
