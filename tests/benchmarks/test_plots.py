"""Scaling curves: which points make one, and the picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks import plots
from benchmarks.records.chart import Curve, draw_chart
from benchmarks.speed.sweeps import SWEEPS, sweep_values


def record(total: float, way: str = "segmenter", **key: Any) -> dict[str, Any]:
    settings = {"way": way, "model": "tiny", "precision": "fp32", "size": "512x512", "classes": 12}
    settings |= {"frame": "480x640", "threads": 2, "batch": 1, "streams": 1, "machine": "CPU, 2 cores", **key}
    figures = {"median": total, "p95": total, "p99": total, "min": total}
    stages = {"inference": figures, "total": figures}
    return {"benchmark": "latency", "key": settings, "stages_ms": stages, "frames_per_second": 1e3 / total}


def test_points_that_differ_in_one_setting_make_a_curve() -> None:
    records = [record(100, size="256x256"), record(400), record(900, size="384x640"), record(50, classes=3)]
    records += [{**record(1, size="64x64"), "failed": "no"}, record(410), record(999, model="base")]
    (curve,) = plots.curves(records, "size")
    assert curve.name == "tiny fp32 12 cat. 2 thr."
    assert [(round(x), y) for x, y in curve.points] == [(256, 100.0), (496, 900.0), (512, 410.0)]
    (curve,) = plots.curves(records, "classes")
    assert curve.points == ((3.0, 50.0), (12.0, 410.0))
    assert plots.curves(records, "threads") == []


def test_batches_count_per_picture_and_streams_per_second() -> None:
    records = [record(100, "session"), record(300, "session", batch=4), record(100, "streams", streams=1)]
    records += [record(50, "streams", streams=2), record(90)]
    assert plots.curves(records, "batch")[0].points == ((1.0, 100.0), (4.0, 75.0))
    assert plots.curves(records, "streams")[0].points == ((1.0, 10.0), (2.0, 20.0))


def test_pictures_are_written_for_what_was_varied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sweeps.jsonl"
    stored = [record(3.0 * classes, classes=classes) for classes in (1, 10, 1000)]
    path.write_text("".join(json.dumps(line) + "\n" for line in stored))
    assert plots.main([str(path), "--out", str(tmp_path / "new")]) == 0
    written = capsys.readouterr().out.split()
    assert [Path(name).name for name in written] == ["latency_classes.png"]
    picture = cv2.imread(written[0])
    assert picture.shape == (560, 900, 3)
    path.write_text(json.dumps(record(1.0)) + "\n")
    assert plots.main([str(path), "--out", str(tmp_path)]) == 3
    assert "benchmarks.latency --sweep" in capsys.readouterr().err


@pytest.mark.parametrize("log", [False, True])
def test_a_chart_shows_every_curve(log: bool, tmp_path: Path) -> None:
    curves = [Curve("one", ((1, 10), (2, 30), (4, 20))), Curve("two", ((1, 500), (4, 900))), Curve("three", ((3, 7),))]
    path = tmp_path / "chart.png"
    seen = []
    for count in (1, 2, 3):
        draw_chart(path, "title", "x", "y", curves[:count], "note", log_x=log, log_y=log)
        picture = cv2.imread(str(path))
        assert picture.shape == (560, 900, 3)
        hues = cv2.cvtColor(picture, cv2.COLOR_BGR2HSV)[np.ptp(picture, axis=2) > 100][:, 0]  # 0..179
        seen.append(int((np.bincount(hues // 15) > 12).sum()))  # fewer pixels are the blurred edges of lines
    assert 0 < seen[0] < seen[1] < seen[2], "each curve adds a colour"


def test_sweeps_go_through_their_usual_values() -> None:
    assert sweep_values("threads", None, 6) == [1, 2, 4, 6]
    assert sweep_values("streams", None, 2) == [1, 2, 4]
    assert sweep_values("classes", None, 2)[-1] == 1000
    assert sweep_values("size", ["64", "32x64"], 2) == [(64, 64), (32, 64)]
    assert set(SWEEPS) == {"size", "classes", "threads", "batch", "streams"}
