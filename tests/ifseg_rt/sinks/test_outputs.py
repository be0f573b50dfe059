"""Which files a run writes; above all, which it never touches."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ifseg_rt.errors import IfsegError, UsageError
from ifseg_rt.sinks.base import SinkError
from ifseg_rt.sinks.outputs import KINDS, Outputs
from ifseg_rt.sinks.palette import read_labels
from ifseg_rt.sources.base import Frame
from tests.ifseg_rt.sinks.made_up import MadeUpSource, result_of, seen


def run(output: Path | str, sources: Sequence[MadeUpSource], **options: Any) -> list[dict[str, str]]:
    """What the command does, with two frames for every source that is no picture."""
    outputs = Outputs(str(output), sources, **options)
    lines = []
    try:
        for source in sources:
            sink = outputs.open(source)
            for index in range(1 if source.is_still else 2):
                picture = np.full((20, 30, 3), 10 + 4 * index, np.uint8)
                result = result_of(np.full((20, 30), index, np.uint8))
                written = {}
                if sink is not None:
                    written = sink.write(Frame(picture, index, time=index / 10), result, picture)
                lines.append(written)
                outputs.record({"source": source.name, "frame": index, "outputs": written})
            if sink is not None:
                sink.close()
    finally:
        outputs.close()
    return lines


def picture(path: Path) -> MadeUpSource:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(f"pixels of {path}")
    return MadeUpSource(path)


def clip(path: Path) -> MadeUpSource:
    return MadeUpSource(picture(path).path, is_still=False)


def snapshot(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_of_everything(tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    sources = [picture(tmp_path / "a.jpg"), clip(tmp_path / "b.mp4")]
    lines = run(tmp_path / "out", sources, save=frozenset(KINDS))
    out = tmp_path / "out"
    assert names(out) == [
        "a_coco.json",
        "a_labels.png",
        "a_masks",
        "a_overlay.jpg",
        "b_coco.json",
        "b_labels",
        "b_labels.mkv",
        "b_masks",
        "b_overlay.mp4",
        "results.jsonl",
    ]
    assert lines[0] == {
        "overlay": str(out / "a_overlay.jpg"),
        "labels": str(out / "a_labels.png"),
        "masks": str(out / "a_masks"),
        "coco": str(out / "a_coco.json"),
    }
    assert names(out / "b_labels") == ["000000.png", "000001.png"]
    assert (read_labels(lines[2]["labels"]) == 1).all()
    assert names(out / "b_masks" / "000001") == ["c1.png"]
    assert [json.loads(line)["outputs"] for line in (out / "results.jsonl").open()] == lines


def test_usual_outputs(tmp_path: Path) -> None:
    camera = MadeUpSource(None, is_still=False, is_live=True)
    run(f"{tmp_path}/run.1/", [picture(tmp_path / "a.jpg"), clip(tmp_path / "b.mp4"), camera])
    made = ["a_labels.png", "a_overlay.jpg", "b_overlay.mp4", "camera_0_overlay.mp4", "results.jsonl"]
    assert names(tmp_path / "run.1") == made


def test_nothing_is_written_for_a_camera_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    camera = MadeUpSource(None, is_still=False, is_live=True)
    outputs = Outputs(None, [camera])
    assert not outputs.saves
    assert not outputs.draws
    assert outputs.open(camera) is None
    outputs.close()
    assert not list(tmp_path.iterdir())


def test_a_later_run_replaces_nothing(tmp_path: Path) -> None:
    notes: list[str] = []
    run(tmp_path / "out", [picture(tmp_path / "a" / "1.jpg")])
    before = snapshot(tmp_path)
    run(tmp_path / "out", [picture(tmp_path / "b" / "1.jpg"), picture(tmp_path / "c" / "1.jpg")], note=notes.append)
    after = snapshot(tmp_path)
    results = tmp_path / "out" / "results.jsonl"
    assert after[results].startswith(before.pop(results))
    assert {path: after[path] for path in before} == before
    assert {"1-2_overlay.jpg", "1-3_labels.png"} <= set(names(tmp_path / "out"))
    rows = [json.loads(line) for line in results.open()]
    assert [Path(row["source"]).parent.name for row in rows] == ["a", "b", "c"]
    assert any("1-2_overlay.jpg" in note for note in notes)
    assert any("results.jsonl" in note for note in notes)


STEMS = st.sampled_from(["a", "A", "a_labels", "a_overlay", "a-2", "a_masks", "results", "ä", "x" * 240])
SUFFIXES = st.sampled_from([".jpg", ".png", ".mp4", ".jsonl", ".json"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    layout=st.lists(st.tuples(STEMS, SUFFIXES, st.booleans()), min_size=1, max_size=8, unique_by=lambda x: x[:2]),
    output=st.one_of(st.just(""), st.tuples(STEMS, SUFFIXES).map("".join)),
    kinds=st.none() | st.sets(st.sampled_from([kind for kind in KINDS if kind != "coco"]), min_size=1).map(frozenset),
)
def test_no_file_that_was_there_changes(
    tmp_path_factory: pytest.TempPathFactory, layout: Any, output: str, kinds: frozenset[str] | None
) -> None:
    """Into the folder of the sources, or to a file there. Only a file that the user named himself is replaced."""
    folder = tmp_path_factory.mktemp("layout")
    sources = []
    for stem, suffix, is_source in layout:
        source = picture(folder / f"{stem}{suffix}")
        source.is_still = suffix != ".mp4"
        if is_source:
            sources.append(source)
    before = snapshot(folder)
    if output:
        sources = sources[:1]
    with suppress(UsageError, SinkError):
        run(folder / output if output else f"{folder}/", sources, save=kinds)
    after = snapshot(folder)
    named = folder / output if output and not any(source.path == folder / output for source in sources) else None
    assert {path: after.get(path) for path in before if path != named} == {
        path: content for path, content in before.items() if path != named
    }
    assert not [path for path in after if path.name.startswith(".")]


def test_the_file_named_by_the_user_is_replaced_and_so_are_our_labels(tmp_path: Path) -> None:
    output, source = tmp_path / "o.png", picture(tmp_path / "a.jpg")
    output.write_text("old")
    for _ in range(2):
        assert run(output, [source]) == [{"overlay": str(output), "labels": str(tmp_path / "o_labels.png")}]
    assert names(tmp_path) == ["a.jpg", "o.png", "o_labels.png"]
    (tmp_path / "o_labels.png").write_text("corrected by hand")
    before = snapshot(tmp_path)
    with pytest.raises(UsageError, match=r"o_labels\.png"):
        run(output, [source])
    assert snapshot(tmp_path) == before
    run(output, [source], save=frozenset({"overlay"}))
    assert (tmp_path / "o_labels.png").read_text() == "corrected by hand"


@pytest.mark.parametrize("make", [Path.symlink_to, Path.hardlink_to], ids=["symbolic", "hard"])
@pytest.mark.parametrize("name", ["x.png", "x_labels.png"])
def test_a_source_under_another_name_is_not_overwritten(tmp_path: Path, make: Any, name: str) -> None:
    source = picture(tmp_path / "s.png")
    make(tmp_path / name, source.path)
    before = snapshot(tmp_path)
    with pytest.raises(UsageError, match="source"):
        run(tmp_path / "x.png", [source])
    assert snapshot(tmp_path) == before


def test_links_in_the_folder_lead_nowhere(tmp_path: Path) -> None:
    mine, out = tmp_path / "mine.txt", tmp_path / "out"
    mine.write_text("mine")
    out.mkdir()
    for name in ("results.jsonl", "a_overlay.jpg", "a_labels.png", ".a_overlay.jpg.part", "a-2_labels.png"):
        (out / name).symlink_to(mine)
    os.link(mine, out / "results-2.jsonl")
    (lines,) = run(out, [picture(tmp_path / "a.jpg")])
    assert mine.read_text() == "mine"
    assert lines["overlay"] == str(out / "a-3_overlay.jpg")
    assert (out / "results-3.jsonl").is_file()


@pytest.mark.parametrize("content", ["", "x", '{"source": 1}', '{"other": 1}\n', '{"source": 1}\n{"sour'])
def test_records_are_added_only_to_our_own_whole_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "results.jsonl").write_text(content)
    run(f"{tmp_path}/", [MadeUpSource(tmp_path / "a.jpg")])
    if content:
        assert (tmp_path / "results.jsonl").read_text() == content
        assert (tmp_path / "results-2.jsonl").is_file()
    else:
        assert json.loads((tmp_path / "results.jsonl").read_text())


def test_records_are_not_added_under_a_second_name(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text('{"source": "a"}\n')
    (tmp_path / "out").mkdir()
    os.link(tmp_path / "mine.jsonl", tmp_path / "out" / "results.jsonl")
    run(tmp_path / "out", [MadeUpSource(tmp_path / "a.jpg")])
    assert (tmp_path / "mine.jsonl").read_text() == '{"source": "a"}\n'


def test_two_runs_at_once(tmp_path: Path) -> None:
    first = Outputs(str(tmp_path), [])
    with pytest.raises(SinkError, match="another run"):
        Outputs(str(tmp_path), [])
    first.close()
    first.close()
    Outputs(str(tmp_path), []).close()
    assert not list(tmp_path.iterdir())


def test_names_longer_than_the_file_system_allows(tmp_path: Path) -> None:
    sources = [MadeUpSource(Path("n" * 245 + f"{number}.jpg")) for number in range(2)]
    lines = run(tmp_path / "out", [*sources, MadeUpSource(Path("ü" * 120 + ".mp4"), is_still=False)])
    assert len({Path(line["overlay"]).name for line in lines}) == 3
    assert all(Path(path).exists() for line in lines for path in line.values())
    run(tmp_path / ("o" * 250 + ".jpg"), sources[:1])
    with pytest.raises(UsageError, match="longer"):
        run(tmp_path / ("o" * 300 + ".jpg"), sources[:1])


@pytest.mark.parametrize(
    ("output", "source", "save", "said"),
    [
        ("x.zip", MadeUpSource(Path("a.jpg")), None, r"\.zip"),
        ("x.mp4", MadeUpSource(Path("a.jpg")), None, "is a picture"),
        ("x.jpg", MadeUpSource(Path("a.mp4"), is_still=False), None, "is a video"),
        ("", MadeUpSource(Path("a.jpg")), None, "no name"),
        ("x.jpg", MadeUpSource(Path("a.jpg")), {"masks"}, "cannot hold masks"),
        ("x/", MadeUpSource(Path("a.jpg")), {"overlays"}, "'overlays'"),
        ("file.txt/x/", MadeUpSource(Path("a.jpg")), None, "cannot write into"),
        ("file.txt/x.jpg", MadeUpSource(Path("a.jpg")), None, "cannot write into"),
    ],
)
def test_refusals_are_one_line_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, source: MadeUpSource, save: Any, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file.txt").write_text("x")
    with pytest.raises(IfsegError, match=said) as caught:
        Outputs(output, [source], save=frozenset(save) if save else None)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == ["file.txt"]


def test_a_folder_that_may_not_be_entered_is_one_line(tmp_path: Path, run_script: Any) -> None:
    if not hasattr(os, "setresuid"):
        pytest.skip("this system has no permissions as POSIX knows them")
    program = """
import filelock, os, sys
from pathlib import Path
from ifseg_rt.errors import IfsegError
from ifseg_rt.sinks.outputs import Outputs
from tests.ifseg_rt.sinks.made_up import MadeUpSource
if os.geteuid() == 0:
    os.setresuid(65534, 65534, 65534)
for output in ("no/sub/o.jpg", "no/o.jpg", "no/sub/", "no/"):
    try:
        Outputs(os.path.join(sys.argv[1], output), [MadeUpSource(Path("a.jpg"))])
    except IfsegError as error:
        print(error)
"""
    (tmp_path / "no").mkdir(mode=0o700)
    tmp_path.chmod(0o755)
    (tmp_path / "no").chmod(0o000)
    answer = run_script(program, tmp_path)
    (tmp_path / "no").chmod(0o700)
    assert answer.stderr == ""
    assert answer.stdout.count("\n") == 4


def test_one_file_cannot_hold_two_sources(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="2 sources"):
        Outputs(str(tmp_path / "o.jpg"), [MadeUpSource(Path("a.jpg")), MadeUpSource(Path("b.jpg"))])


def test_a_single_file_of_another_kind(tmp_path: Path) -> None:
    source = MadeUpSource(tmp_path / "a.mp4", is_still=False)
    lines = run(tmp_path / "l.mkv", [source], save=frozenset({"label-video", "overlay"}))
    assert lines[0] == {"overlay": str(tmp_path / "l.mkv"), "label-video": str(tmp_path / "l_labels.mkv")}
    assert seen(tmp_path / "l.mkv")[1] == [0, 1]
    lines = run(tmp_path / "only.mkv", [source], save=frozenset({"label-video"}))
    assert lines[0] == {"label-video": str(tmp_path / "only.mkv")}
