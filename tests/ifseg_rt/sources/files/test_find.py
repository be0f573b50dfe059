"""What the user named becomes sources, in order and each once; what is left out is named."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ifseg_rt.errors import SourceError
from ifseg_rt.sources.find import find_sources


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", np.zeros((4, 5, 3), np.uint8))[1].tobytes())
    return path


def found(*arguments: Path | str) -> list[str]:
    return [source.name for source in find_sources([str(argument) for argument in arguments]).found]


def left_out(*arguments: Path | str) -> dict[str, str]:
    return {Path(name).name: reason for name, reason in find_sources([str(one) for one in arguments]).left_out}


def test_folders_patterns_and_files(tmp_path: Path, clip: Any) -> None:
    picture(tmp_path / "b.png")
    picture(tmp_path / "a.JPG")
    clip(tmp_path / "c.mp4")
    picture(tmp_path / "deep" / "d.bmp")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "a.json").write_text("{}")
    assert found(tmp_path) == [str(tmp_path / name) for name in ("a.JPG", "b.png", "c.mp4")]
    assert sorted(left_out(tmp_path)) == ["a.json", "notes.txt"]
    deep = [tmp_path / "deep" / "d.bmp", tmp_path / "b.png"]
    assert found(tmp_path / "**" / "*.bmp", tmp_path / "b.png") == [str(path) for path in deep]


def test_junk_of_operating_systems_is_no_news(tmp_path: Path) -> None:
    picture(tmp_path / "IMG_1.jpg")
    for name in ("._IMG_1.jpg", ".DS_Store", "Thumbs.db", "desktop.ini", "@eaDir/IMG_1.jpg", "__MACOSX/._IMG_1.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    listing = find_sources([str(tmp_path), str(tmp_path / "**" / "*.jpg")])
    assert [source.name for source in listing.found] == [str(tmp_path / "IMG_1.jpg")]
    assert len(listing.left_out) == 1  # the same picture, named again by the pattern


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on this system")
def test_every_file_once(tmp_path: Path) -> None:
    first = picture(tmp_path / "d" / "a.png")
    (tmp_path / "d" / "loop").symlink_to("../d")
    assert found(tmp_path / "d" / "**" / "*.png") == [str(first)]
    assert left_out(tmp_path / "d" / "**" / "*.png") == {}
    (tmp_path / "d" / "link.png").symlink_to("a.png")
    os.link(first, tmp_path / "d" / "more.png")
    listing = find_sources([str(tmp_path / "d" / "**" / "*.png"), str(first)])
    assert [source.name for source in listing.found] == [str(first)]
    assert [Path(name).name for name, _ in listing.left_out] == ["link.png", "more.png", "a.png"]


@pytest.mark.parametrize("name", ["frame[1].png", "0", "test:x", "what*.png", "-"])
def test_a_file_of_that_name_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        picture(Path(name))
    except OSError:
        pytest.skip("this file system takes no such name")
    (source,) = find_sources([name]).found
    assert source.path == Path(name)


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ("none.jpg", "there is no file or folder"),
        ("none/none.jpg", "there is no file or folder"),
        ("*.jpg", "no picture or video matches"),
        ("empty", "holds no pictures"),
        ("", "empty name"),
        ("x" * 300 + ".jpg", "cannot read x"),
        ("a\0b.jpg", r"cannot read a\\x00b.jpg"),
    ],
)
def test_nothing_to_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argument: str, reason: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=reason) as caught:
        find_sources([argument])
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="this user may read everything")
def test_what_may_not_be_read(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png").chmod(0)
    (tmp_path / "closed").mkdir(mode=0)
    assert found(tmp_path) == [str(tmp_path / "a.png")]
    assert "b.png" in left_out(tmp_path)
    for argument in ("b.png", "closed"):
        with pytest.raises(SourceError, match="cannot read"):
            find_sources([str(tmp_path / argument)])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_and_broken_links_do_not_stop_anything(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "gone.jpg").symlink_to("nowhere")
    assert found(tmp_path) == [str(tmp_path / "a.png")]
    assert sorted(left_out(tmp_path)) == ["gone.jpg", "pipe.mp4"]
    with pytest.raises(SourceError, match="named pipe"):
        find_sources([str(tmp_path / "pipe.mp4")])


def test_a_name_without_meaning_is_tried_where_it_was_named(tmp_path: Path, clip: Any) -> None:
    raw = tmp_path / "recording"
    clip(tmp_path / "v.m4v").rename(raw)
    assert found(raw) == [str(raw)]
    (tmp_path / "words").write_text("no video at all")
    (source,) = find_sources([str(tmp_path / "words")]).found
    with pytest.raises(SourceError, match="words is not a readable video"):
        list(source.items())
