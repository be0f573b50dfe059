"""Any list that is accepted comes back unchanged from every form in which names are kept or handed on.

``IFSEG_RT_NAME_LISTS=10000 python -m pytest tests/train/words/test_names_travel.py -s`` tries as many lists.
"""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from export.sidecar import category_records
from ifseg_rt.artifact.shipped import default_model_path
from ifseg_rt.artifact.sidecar import TensorSpec, file_record, read_artifact, write_artifact
from ifseg_rt.categories import WantedCategory, parse_categories, read_categories, write_categories
from ifseg_rt.categories.lines import read_lines
from ifseg_rt.errors import UsageError, VocabularyError
from train.checkpoints.own import Checkpoint, read_checkpoint, save_checkpoint
from train.loaded_model import LoadedModel
from train.models.ofa.config import PRESETS
from train.words.vocabulary import Vocabulary

LISTS = int(os.environ.get("IFSEG_RT_NAME_LISTS", "60"))
# What means something in one of the forms, or cannot be seen.
WORDS = "sky~road~traffic light~caf\u00e9~cafe\u0301~\u5929\u7a7a~no~null~3~0: a~- a~* a~& a~names:~---"
WORDS += "~e\u0323\u0301~\ufb01"
SIGNS = "[]{}<>()\"'\\/%@!~.-_=`$^|;:&+* \u3001\uff0c\U0001f697"
REFUSED = "#,\t\r\n\x00\x7f\x85\xa0\u200b\u202e\u2028\ufeff\ufffd\ud800\U0010ffff\ufe0f\u3164"
PIECES = st.sampled_from([*WORDS.split("~"), *SIGNS, *REFUSED, "# x", "#fff", ", ", "; ", "  "])
ANY = st.lists(PIECES, min_size=1, max_size=4).map("".join) | st.text(st.characters())
VISIBLE = st.text(st.characters(categories=["L", "N", "P", "S", "M"], exclude_characters=",#\ufffd"), max_size=8)
LIKELY = st.one_of(
    st.text(st.sampled_from("abcdefghijklmnop -'"), min_size=3, max_size=16),
    st.builds("{}{}{}".format, VISIBLE, st.sampled_from(" abcXYZ\u00e4\u5929"), VISIBLE),
    st.builds("{}{}{}".format, *[st.sampled_from([*WORDS.split("~"), *SIGNS])] * 3),
).map(lambda name: " ".join(name.split()))


def entries_of(names: st.SearchStrategy[str]) -> st.SearchStrategy[list[dict[str, Any]]]:
    color = st.none() | st.lists(st.integers(0, 255), min_size=3, max_size=3)
    synonyms = st.just([]) | st.lists(names, max_size=2)
    entry = st.fixed_dictionaries({"name": names, "synonyms": synonyms, "color": color})
    return st.lists(entry, min_size=1, max_size=6, unique_by=lambda fields: fields["name"])


tried: Counter[str] = Counter()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("names")
    onnx = pytest.importorskip("onnx")
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], [])), place / "model.onnx")
    return place


def checkpoint_and_back(vocabulary: Vocabulary, path: Path) -> Vocabulary:
    ids = [[[5] for _ in (c.name, *c.synonyms)] for c in vocabulary.categories]
    save_checkpoint(Checkpoint(PRESETS["mini"], {}, vocabulary, [0, 5, 2], ids, {"kind": "bpe"}), path)
    return read_checkpoint(path).vocabulary


def sidecar_and_back(vocabulary: Vocabulary, model: Path) -> tuple[Any, ...]:
    module: Any = SimpleNamespace(category_embedding=vocabulary.categories)
    categories = category_records(LoadedModel(module, vocabulary), None)
    shipped, count = read_artifact(default_model_path()), len(categories)
    shapes = {"probabilities": (1, count, *shipped.grid), "logits": (1, shipped.outputs[1].shape[1], count)}
    outputs = tuple(TensorSpec(s.name, s.dtype, shapes.get(s.name, s.shape)) for s in shipped.outputs)
    described = msgspec.structs.replace(shipped, files=(file_record(model),), categories=categories, outputs=outputs)
    write_artifact(described, model.with_suffix(".json"))
    return read_artifact(model).categories


def check_texts(names: tuple[str, ...], plain: tuple[WantedCategory, ...], folder: Path) -> None:
    """The names alone, by each way in which people give them; text may be questioned, but never means another list."""
    assert Vocabulary.of(list(names)).categories == plain
    assert parse_categories(json.dumps(names)) == plain
    (folder / "n.json").write_text(json.dumps({"names": dict(enumerate(names))}, ensure_ascii=False), encoding="utf-8")
    (folder / "n.yaml").write_text(yaml.safe_dump({"nc": len(names), "names": list(names)}), encoding="utf-8")
    with (folder / "n.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("id", "name"), *enumerate(names)])
    for suffix in ("json", "yaml", "csv"):
        assert read_categories(folder / f"n.{suffix}") == plain
    for read, text in ((parse_categories, ", ".join(names)), (lambda t: read_lines(t, "lines"), "\n".join(names))):
        if text[0] not in "[{":  # which is JSON, as documented
            try:
                found = read(text)
            except VocabularyError:
                continue
            tried["text"] += 1
            assert found == plain


@settings(max_examples=LISTS, deadline=None, suppress_health_check=list(HealthCheck))
@given(entries=st.one_of(entries_of(LIKELY), entries_of(LIKELY), entries_of(LIKELY), entries_of(LIKELY | ANY)))
def test_what_is_accepted_comes_back_unchanged(entries: list[dict[str, Any]], folder: Path) -> None:
    tried["lists"] += 1
    try:
        vocabulary = Vocabulary.of(entries)
    except (UsageError, VocabularyError) as error:
        event("refused")
        assert "\n" not in str(error)
        return
    tried["accepted"] += 1
    assert vocabulary.to_list() == entries
    write_categories(folder / "handed.json", vocabulary.categories)
    assert read_categories(folder / "handed.json") == vocabulary.categories
    assert checkpoint_and_back(vocabulary, folder / "ckpt.pt") == vocabulary
    kept = sidecar_and_back(vocabulary, folder / "model.onnx")
    assert [(c.name, list(c.synonyms)) for c in kept] == [(e["name"], e["synonyms"]) for e in entries]
    assert all(list(c.color) == (e["color"] or list(c.color)) for c, e in zip(kept, entries, strict=True))
    check_texts(vocabulary.names, tuple(WantedCategory(name) for name in vocabulary.names), folder)


def test_enough_lists_were_accepted() -> None:
    print(dict(tried))
    assert tried["accepted"] > tried["lists"] / 4
