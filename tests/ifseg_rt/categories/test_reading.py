"""Category lists as people bring them: read for what they are, or refused by name."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from ifseg_rt.categories import WantedCategory, parse_categories, read_categories
from ifseg_rt.errors import UsageError, VocabularyError

SKY_ROAD = (WantedCategory("sky"), WantedCategory("road"))
COLORED = (WantedCategory("sky", (), (255, 255, 255)), WantedCategory("road", ("street",), (128, 64, 128)))


@pytest.mark.parametrize(
    "text",
    ["sky, road", " sky ,road\n", '["sky", "road"]', "['sky', 'road']", "[sky, road]", "{0: sky, 1: road}"],
)
def test_texts_that_name_two(text: str) -> None:
    assert parse_categories(text) == SKY_ROAD


def test_a_text_with_colours_and_an_insisted_name() -> None:
    assert parse_categories("sky #fff, road #804080") == (COLORED[0], WantedCategory("road", (), (128, 64, 128)))
    for odd in ("sky; road", "a b c d e", "- sky", "names.txt", "'sky'"):
        with pytest.raises(VocabularyError) as caught:
            parse_categories(odd)
        insisted = str(caught.value.hint).partition("JSON list: ")[2]
        assert parse_categories(insisted) == (WantedCategory(odd),)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("sky; road; tree", "'sky', 'road', 'tree'"),
        ("天空\uff0c道路\uff0c树", "U\\+FF0C FULLWIDTH COMMA.*'天空', '道路', '树'"),
        ("天空、道路", "U\\+3001 IDEOGRAPHIC COMMA"),
        ("sky|road", "VERTICAL LINE"),
        ("sky\nroad", "U\\+000A"),
        ("sky\troad", "U\\+0009"),
        ("sky/road/tree", "'sky', 'road', 'tree'"),
        ("sky. road. tree", "'sky', 'road', 'tree'"),
        ("sky road tree building car", "more than 4 words"),
        ("'sky', 'road'", "did you mean 'sky'"),
        ("- sky, - road", "did you mean 'sky'"),
        ("0: sky, 1: road", "'sky', 'road'"),
        ("sky, road and tree (big).", "'.'"),
        ("sky, and road", "did you mean 'road'"),
        ("sky, road and tree", "did you mean 'road', 'tree'"),
        ("names.yaml", "looks like a file"),
        ("sky, #tree", "'#tree'"),
        ("sky#804080", "'#'"),
        ("road  # grey one", "comment"),
        ("sky, #804080", "category 2"),
        ("sk\u200by", "U\\+200B ZERO WIDTH SPACE"),
        ("sk\u202ey", "U\\+202E"),
        ("sk\udcffy", "U\\+DCFF"),
        ("sk\x00y", "U\\+0000"),
        ("天\u3000空", "U\\+3000"),
        ("…", "no letter"),
        ("a" * 201, "201 characters"),
        ("café, cafe\u0301", "U\\+0301 COMBINING ACUTE ACCENT"),
        ("Straße, STRASSE", "the same"),
        ('["sky", 3]', "category 2"),
        ('["sky", null]', "category 2"),
        ('[" sky"]', "write 'sky'"),
        ('["road #804080"]', '"color"'),
    ],
)
def test_texts_that_are_questioned_or_refused(text: str, named: str) -> None:
    with pytest.raises(VocabularyError) as caught:
        parse_categories(text)
    said = f"{caught.value} {caught.value.hint}"
    assert re.search(named, said), said
    assert "\n" not in said


@pytest.mark.parametrize("text", ['["sky"', "{oops", '{"sky": 0, "road": 1}', "{1: sky, 2: road}", "[" * 100_000])
def test_brackets_without_a_list(text: str) -> None:
    with pytest.raises(UsageError):
        parse_categories(text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("n.txt", "\ufeff# a comment\r\nsky\r\n\r\n#no\r\nroad  # grey one\r\n"),
        ("n.txt", "- sky\n- road  # grey\n"),
        ("n.yaml", "# classes\n- sky\n- 'road'\n"),
        ("n.yaml", "[sky, road]"),
        ("data.yaml", "path: ../x\ntrain: a\nnc: 2\nnames: ['sky', 'road']\ndownload: |\n  any #script\n"),
        ("data.yaml", "train: a\nnames:\n  1: road\n  0: sky\n"),
        ("n.txt", "0: sky\n1: road\n"),
        ("n.json", '\ufeff["sky", "road"]'),
        ("n.txt", '{"names": {"0": "sky", "1": "road"}, "nc": 2}'),
        ("n.csv", "name\nsky\nroad\n"),
        ("n.csv", "id;name\r\n0;sky\r\n1;road\r\n"),
        ("n.tsv", "ID\tName\n0\tsky\n1\troad\n"),
    ],
)
def test_files_that_name_two(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(text.encode())
    assert read_categories(tmp_path / name) == SKY_ROAD


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("n.txt", "sky #FFF\nroad,street  #804080 # grey\n"),
        (
            "n.json",
            '[{"name": "sky", "color": "#fff"}, {"name": "road", "synonyms": ["street"], "color": [128, 64, 128]}]',
        ),
        ("n.yaml", "- {name: sky, color: '#ffffff'}\n- name: road\n  synonyms: [street]\n  color: [128, 64, 128]\n"),
        ("n.csv", "name,synonyms,color\nsky,,#ffffff\nroad,street,#804080\n"),
        ("n.txt", "name,r,g,b,synonyms\nsky,255,255,255,\nroad,128,64,128,street\n"),
    ],
)
def test_files_with_synonyms_and_colours(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_categories(tmp_path / name) == COLORED


def test_a_word_that_yaml_takes_for_a_truth_value(tmp_path: Path) -> None:
    (tmp_path / "n.yaml").write_text("- no\n- on\n")
    assert [category.name for category in read_categories(tmp_path / "n.yaml")] == ["no", "on"]


@pytest.mark.parametrize(
    ("name", "text", "kind", "named"),
    [
        ("n.txt", b"", VocabularyError, "names no category"),
        ("n.txt", b"# only a comment\n", VocabularyError, "names no category"),
        ("n.txt", b"road\nsky, \n", VocabularyError, "category 2 has an empty word"),
        ("n.txt", b"road\nroad, street\n", VocabularyError, "'road' is given twice"),
        ("n.txt", b"sky, road, tree\n", VocabularyError, "did you mean 'sky', 'road', 'tree'"),
        ("n.txt", b"0,sky\n1,road\n", VocabularyError, "did you mean 'sky', 'road'"),
        ("n.txt", b"sky; road\n", VocabularyError, "SEMICOLON"),
        ("n.txt", b"sky\nroad #grey\n", VocabularyError, "'#'"),
        ("n.txt", b'NAMES = ("sky", "road")\n', VocabularyError, "'='"),
        ("n.txt", b"\xff\xfe\x00x", UsageError, "UTF-16"),
        ("n.txt", "sky\nroad".encode("utf-16-le"), UsageError, "UTF-16"),
        ("n.txt", b"caf\xe9", UsageError, "not UTF-8"),
        ("n.yaml", b"sky\nroad\n", UsageError, "no list and no map"),
        ("n.yaml", b"- sky\nroad\n", UsageError, "line"),
        ("n.yaml", b"- road #804080\n", UsageError, "#804080"),
        ("n.yaml", b"- name: road\n  color: #804080\n", UsageError, "#804080"),
        ("n.yaml", b"- 1.5\n- a\n", UsageError, "quote it"),
        ("n.yaml", b"- 3\n- a\n", VocabularyError, "category 1"),
        ("n.yaml", b"-\n- a\n", VocabularyError, "category 1"),
        ("n.yaml", b"names: &a [b, *a]\n", UsageError, "alias"),
        ("n.yaml", b"!!python/object/apply:os.system [ls]", UsageError, "os.system"),
        ("n.yaml", b"!!set {a, b}", UsageError, "'set'"),
        ("n.yaml", b"names: {0: a, 0: b}", UsageError, "twice"),
        ("n.yaml", b"names: [a, b]\nnc: 3", UsageError, "nc is int 3"),
        ("n.json", b'["sky",]', UsageError, "JSON"),
        ("n.json", b'{"0": "a", "0": "b"}', UsageError, "twice"),
        ("n.csv", b"sky,road,tree\n", UsageError, "header"),
        ("n.csv", b"id,name\n1,sky\n2,road\n", UsageError, "id '1'"),
        ("n.csv", b"name,r,g,b\nsky,1,2,256\n", VocabularyError, "256"),
        ("n.csv", b"name,r\nsky,1\n", UsageError, "header"),
        ("n.csv", b"name,r,g,b,color\nsky,1,2,3,#fff\n", UsageError, "color and r, g, b"),
        ("n.csv", b"id,name\n0,sky,blue\n", UsageError, "3 cells"),
    ],
)
def test_files_that_are_questioned_or_refused(
    tmp_path: Path, name: str, text: bytes, kind: type[Exception], named: str
) -> None:
    (tmp_path / name).write_bytes(text)
    with pytest.raises(kind) as caught:
        read_categories(tmp_path / name)
    said = f"{caught.value} {caught.value.hint}"  # type: ignore[attr-defined]
    assert named in said
    assert "\n" not in said


def test_what_is_no_plain_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero"), Path("a" * 300), Path("a\0b")):
        with pytest.raises(UsageError, match="category file"):
            read_categories(path)
