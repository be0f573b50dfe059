"""What the console says of a run that it observes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from ifseg_rt.cli.console import Console
from ifseg_rt.result import Result
from ifseg_rt.sources.base import Frame


class Source:
    name, is_live, is_still, fps, total, dropped = "clip [1].mp4", False, False, None, 3, 2

    def open(self) -> None:
        pass

    def frames(self) -> Iterator[Frame]:
        yield from ()

    def close(self) -> None:
        pass


class Camera(Source):
    name, is_live = "camera 0", True


class Picture(Source):
    name, is_still = "a.png", True


def observed(console: Console, source: Source) -> None:
    labels = np.zeros((2, 2), np.uint8)
    result = Result(labels, np.zeros((1, 2, 2), np.float32), ("sky",), ((0, 0, 0),), timings={"total": 1.0})
    console.source_opened(source, source.total)
    for index, spent in enumerate((1.0, 3.0, 9.0)):
        console.frame_done(source, Frame(np.zeros((2, 2, 3), np.uint8), index), result, {"read": spent})
    console.source_closed(source)


@pytest.mark.parametrize("terminal", [False, True])
def test_every_source_is_summed_up(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    observed(Console(quiet=False), Source())
    last = capsys.readouterr().err.splitlines()[-1]
    assert "clip [1].mp4: 3 frames, " in last  # after what moves the cursor
    assert last.endswith(" fps; median ms: read 3")
    observed(Console(quiet=False), Camera())
    assert ", 2 dropped; median ms: read 3" in capsys.readouterr().err
    observed(Console(quiet=False), Picture())
    assert capsys.readouterr().err.splitlines()[-1] == "a.png: ms: read 3"


def test_quiet_leaves_errors(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(quiet=True)
    observed(console, Source())
    console.note("by the way")
    console.error("broken", "mend it")
    assert capsys.readouterr().err == "error: broken\nhint: mend it\n"
