"""Files that are whole or not there, and never go through a link or over what somebody put there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ifseg_rt.sinks.base import SinkError
from ifseg_rt.sinks.pictures import write_picture
from ifseg_rt.sinks.placing.files import Place, new_file
from ifseg_rt.sinks.videos import VideoSink
from tests.ifseg_rt.sinks.made_up import feed, seen


def test_a_new_file_is_new(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("x")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("there", "dangling"):
        with pytest.raises(FileExistsError):
            new_file(tmp_path / name)
    assert (tmp_path / "there").read_text() == "x"
    assert not (tmp_path / "nowhere").exists()


def test_what_appears_at_the_place_meanwhile_stays(tmp_path: Path) -> None:
    sink = VideoSink(Place(tmp_path / "v.mp4"))
    feed(sink, [0.0, 0.1])
    (tmp_path / "v.mp4").write_text("somebody else's")
    with pytest.raises(SinkError, match="File exists") as caught:
        sink.close()
    assert (tmp_path / "v.mp4").read_text() == "somebody else's"
    (left,) = sink.left_at.values()
    assert left in str(caught.value.hint)
    assert seen(Path(left))[1] == [0, 1]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_picture_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    picture = np.zeros((3, 3, 3), np.uint8)
    (tmp_path / "taken.png").write_text("x")
    for place, said in [
        (Place(tmp_path / "missing" / "x.png"), "No such file"),
        (Place(tmp_path / "x.zip"), "no writer"),
        (Place(tmp_path / "taken.png"), "File exists"),
    ]:
        with pytest.raises(SinkError, match=said):
            write_picture(place, picture)
    assert [path.name for path in tmp_path.iterdir()] == ["taken.png"]
    assert (tmp_path / "taken.png").read_text() == "x"
    write_picture(Place(tmp_path / "taken.png", replaces=True), picture)
    assert (tmp_path / "taken.png").read_bytes().startswith(b"\x89PNG")
