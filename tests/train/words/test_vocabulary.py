"""Category lists: every way to give them, and what is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ifseg_rt.errors import CheckpointError, UsageError, VocabularyError
from train.words.vocabulary import Category, Vocabulary

FILE = """\
# a comment
road, street, tarred road #804080

sky
traffic light  #FAAA1E
"""


def test_a_text_of_names():
    assert Vocabulary.parse(" sky,road , traffic   light").names == ("sky", "road", "traffic light")


def test_a_file_with_synonyms_and_colours(tmp_path: Path):
    path = tmp_path / "names.txt"
    path.write_text(FILE)
    assert Vocabulary.from_file(path).categories == (
        Category("road", ("street", "tarred road"), (128, 64, 128)),
        Category("sky"),
        Category("traffic light", (), (250, 170, 30)),
    )


def test_whatever_names_categories(tmp_path: Path):
    path = tmp_path / "names.txt"
    path.write_text("sky\nroad\n")
    expected = Vocabulary.parse("sky, road")
    for given in ("sky, road", ["sky", "road"], ("sky", "road"), {0: "sky", 1: "road"}, path, expected):
        assert Vocabulary.of(given) == expected


def test_a_text_is_never_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in ("sky", "names.txt"):
        (tmp_path / name).write_text("road\n")
    assert Vocabulary.of("sky").names == ("sky",)
    with pytest.raises(VocabularyError, match="looks like a file"):
        Vocabulary.of("names.txt")


@pytest.mark.parametrize(
    "given", [{"sky", "road"}, (name for name in "ab"), {"sky": 0}, None, 3, b"sky", {"a": 1}.keys()]
)
def test_what_gives_no_order_is_refused(given):
    with pytest.raises(UsageError):
        Vocabulary.of(given)


def test_a_text_longer_than_any_file_name():
    names = tuple(f"thing number {i}" for i in range(500))
    assert Vocabulary.of(", ".join(names)).names == names


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("sky, , road", "category 2"),
        ("", "category 1"),
        ("sky, road, sky", "'sky'"),
        ("sky, road, Sky", "'Sky'"),
        ("traffic light, traffic_light", "'traffic_light'"),
        ("traffic light, traffic-light", "'traffic-light'"),
        ([], "empty"),
        (["sky", "road, street"], "comma"),
        (["sky", " "], "category 2"),
        (["sky", 3], "category 2 is int 3"),
        ([Category("sky", (), (0, 0, 256))], "colour"),
    ],
)
def test_empty_and_double_names_are_refused(given, named: str):
    with pytest.raises(VocabularyError, match=named):
        Vocabulary.of(given)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("road, street\nstreet\n", "'street' of category 'road' and 'street' of category 'street'"),
        ("road, street\nlane, Street\n", "'Street' of category 'lane'"),
        ("road, Road\n", "'Road'"),
        ("road,,street\n", "category 1"),
        ("# nothing\n", "names no category"),
    ],
)
def test_files_with_empty_or_double_words_are_refused(tmp_path: Path, text: str, named: str):
    path = tmp_path / "names.txt"
    path.write_text(text)
    with pytest.raises(VocabularyError, match=named):
        Vocabulary.from_file(path)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(UsageError, match=r"none\.txt"):
        Vocabulary.from_file(tmp_path / "none.txt")


def test_plain_values_and_back():
    vocabulary = Vocabulary((Category("road", ("street",), (1, 2, 3)), Category("sky")))
    assert Vocabulary.from_list(json.loads(json.dumps(vocabulary.to_list()))) == vocabulary


@pytest.mark.parametrize("entry", [{}, {"name": "sky"}, {"name": "sky", "synonyms": 3, "color": None}, "sky", None])
def test_damaged_plain_values_are_refused(entry):
    with pytest.raises(CheckpointError, match="category 1"):
        Vocabulary.from_list([entry])


def test_published_category_lists_are_accepted(shared: Path):
    lists = json.loads((shared / "reference" / "classes.json").read_text(encoding="utf-8"))
    for name in ("ade150", "coco_stuff171", "context59", "voc21", "cityscapes19", "camvid11"):
        assert Vocabulary.of([entry.replace(",", " ") for entry in lists[name]]).categories, name
