"""Lines of JSON: complete and valid, whatever the names and wherever they go."""

from __future__ import annotations

import errno
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest

from ifseg_rt.sinks.jsonl import JsonLines, JsonLinesFile, event_record, record
from ifseg_rt.sources.base import Event, Frame
from tests.ifseg_rt.sinks.made_up import MadeUpSource, result_of

LABELS = np.zeros((4, 5), dtype=np.uint8)
LABELS[0] = 2


def test_record_of_a_file(tmp_path: Path) -> None:
    frame = Frame(LABELS, 7, time=0.28, taken=1.7e9, damaged=True)
    source = MadeUpSource(Path("ü.mp4"), is_still=False)
    fields = record(source, frame, result_of(LABELS), {"read": 1.234}, {"overlay": "o.mp4"})
    assert list(fields["shares"].items()) == [("c0", 0.75), ("c2", 0.25)]
    del fields["shares"]
    assert fields == {
        "source": "ü.mp4",
        "frame": 7,
        "time": 0.28,
        "captured": 1.7e9,
        "size": {"width": 5, "height": 4},
        "timings_ms": {"read": 1.23},
        "outputs": {"overlay": "o.mp4"},
        "damaged": True,
    }


def test_record_of_a_live_source_says_what_was_lost() -> None:
    source = MadeUpSource(None, is_still=False, is_live=True)
    fields = record(
        source, Frame(LABELS, 3, connection=2), result_of(LABELS), {}, {}, latency_ms=12.345, dropped={"slow": 4}
    )
    assert (fields["connection"], fields["dropped"], fields["latency_ms"]) == (2, {"slow": 4}, 12.35)
    assert "time" not in fields
    assert "damaged" not in fields


def test_record_of_an_event() -> None:
    event = Event("lost", "camera 0 is gone", {"after": 1.5, "source": "hidden"}, taken=5.0)
    assert event_record("camera 0", event) == {
        "event": "lost",
        "source": "camera 0",
        "at": 5.0,
        "text": "camera 0 is gone",
        "after": 1.5,
    }


@pytest.mark.parametrize("encoding", ["utf-8", "UTF8", "latin-1", "cp1252", "ascii"])
@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_every_line_is_valid_in_every_encoding(encoding: str, errors: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors=errors, newline="\n")
    lines = JsonLines(lambda: stream)
    fields = {"source": "caf\udce9 ü 林 \u2028.jpg", "value": 1.0}
    lines.write(fields)
    lines.write({"source": "ü 林"})
    lines.write({"bad": [float("nan"), float("inf")], "numpy": np.float32(0.5), "path": Path("x")})
    assert lines.failed is None
    assert lines.written == 3
    first, second, third = raw.getvalue().decode("utf-8").strip("\n").split("\n")
    assert json.loads(first) == fields
    assert json.loads(second) == {"source": "ü 林"}
    assert json.loads(third) == {"bad": [None, None], "numpy": 0.5, "path": "x"}


def test_a_reader_that_has_gone_ends_the_lines_and_nothing_else() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", buffering=1) as stream:
        lines = JsonLines(lambda: stream)
        for _ in range(3):
            lines.write({"a": 1})
        assert isinstance(lines.failed, BrokenPipeError)
        assert lines.written == 0
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def test_full_missing_and_closed_streams_are_remembered() -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed):
        lines = JsonLines(lambda stream=stream: stream)
        lines.write({"a": 1})
        assert lines.failed is not None
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    full = os.open("/dev/full", os.O_WRONLY)
    stream = os.fdopen(full, "w", buffering=1)
    lines = JsonLines(lambda: stream)
    lines.write({"a": 1})
    assert lines.failed is not None
    assert lines.failed.errno == errno.ENOSPC
    os.dup2(os.open(os.devnull, os.O_WRONLY), full)
    stream.close()


def test_a_file_of_lines_never_goes_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "r.jsonl").symlink_to(tmp_path / "mine.txt")
    for go_on in (False, True):
        with pytest.raises(OSError):
            JsonLinesFile(tmp_path / "r.jsonl", go_on=go_on).write({"a": 1})
    assert (tmp_path / "mine.txt").read_text() == "mine"
