"""Token ids: OFA's byte-level BPE in both file layouts, whole words, and the prompt made of them (spec 1 to 3)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ifseg_rt.errors import VocabularyError
from train.models.ofa.config import OFA_PROMPT
from train.words.prompt import build_prompt
from train.words.tokenizer import BpeTokenizer, WordTokenizer
from train.words.vocabulary import Vocabulary

LISTS = ("coco_unseen", "ade", "coco_fine")


@pytest.fixture(scope="module")
def ids(shared: Path):
    return json.loads((shared / "reference" / "bpe_ids.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def hub_layout(bpe: Path, tmp_path_factory) -> Path:
    """The same vocabulary as ``vocab.json`` + ``merges.txt``, numbered by dictionary ids, as BART and OFA ship it."""
    number_of = json.loads((bpe / "encoder.json").read_text(encoding="utf-8"))
    token_of = {number: token for token, number in number_of.items()}
    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
    for line, entry in enumerate((bpe / "dict.txt").read_text(encoding="utf-8").splitlines()):
        symbol = entry.split(" ")[0]
        vocabulary[token_of[int(symbol)] if symbol.isdigit() else symbol] = 4 + line
    folder = tmp_path_factory.mktemp("hub_layout")
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    shutil.copy(bpe / "vocab.bpe", folder / "merges.txt")
    return folder


@pytest.fixture(scope="module", params=["fairseq", "hub"])
def tokenizer(request, bpe: Path, hub_layout: Path) -> BpeTokenizer:
    return BpeTokenizer.from_folder(bpe if request.param == "fairseq" else hub_layout)


@pytest.mark.parametrize("name", LISTS)
def test_published_lists(tokenizer: BpeTokenizer, ids, name: str):
    entries = ids[name]["categories"]
    assert [tokenizer.encode(entry["name"]) for entry in entries] == [entry["ids"] for entry in entries]
    assert tokenizer.encode(ids[name]["prompt_prefix"]) == ids[name]["prompt_prefix_ids"]


@pytest.mark.parametrize("name", LISTS)
def test_published_prompts(tokenizer: BpeTokenizer, ids, name: str):
    names = [entry["name"] for entry in ids[name]["categories"] if entry["name"] != "unknown"]
    prompt, category_ids = build_prompt(tokenizer, Vocabulary.of(names), ids[name]["prompt_prefix"])
    assert prompt == ids[name]["full_prompt_ids"]
    assert len(prompt) == ids[name]["prompt_len"]
    assert len(category_ids) == ids[name]["num_seg_tokens"]
    assert max(len(words[0]) for words in category_ids) == ids[name]["max_subtokens"]


def test_unusual_texts(tokenizer: BpeTokenizer, ids):
    assert ids["extra_bpe"]
    for entry in ids["extra_bpe"]:
        assert tokenizer.encode(entry["text"]) == entry["ids"], entry["text"]


def test_category_lists_of_the_golden_model(tokenizer: BpeTokenizer, ids):
    fixtures = [key for key in ids if key.startswith("fixture:")]
    assert fixtures
    for key in fixtures:
        assert [tokenizer.encode(name) for name in key.removeprefix("fixture:").split(", ")] == ids[key]


def test_synonyms_do_not_enter_the_prompt(tokenizer: BpeTokenizer, tmp_path: Path):
    path = tmp_path / "names.txt"
    path.write_text("road, street\nsky\n")
    prompt, category_ids = build_prompt(tokenizer, Vocabulary.from_file(path), OFA_PROMPT)
    assert prompt == build_prompt(tokenizer, Vocabulary.parse("road, sky"), OFA_PROMPT)[0]
    assert category_ids == [[tokenizer.encode("road"), tokenizer.encode("street")], [tokenizer.encode("sky")]]


def test_identity_follows_the_files(bpe: Path, hub_layout: Path):
    first, again = BpeTokenizer.from_folder(bpe), BpeTokenizer.from_folder(bpe)
    assert first.identity == again.identity
    assert first.identity != BpeTokenizer.from_folder(hub_layout).identity


def test_missing_files_are_named(tmp_path: Path):
    (tmp_path / "vocab.json").write_text("{}")
    with pytest.raises(VocabularyError, match=r"vocab\.json \+ merges\.txt or encoder\.json") as caught:
        BpeTokenizer.from_folder(tmp_path)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("vocabulary", "merges"),
    [("{", ""), ("[1]", ""), ('{"a": "x"}', ""), ('{"a": 0}', "a b\n"), ('{"a": 0}', "\ufffdonly-one\n")],
)
def test_damaged_files_are_refused(tmp_path: Path, vocabulary: str, merges: str):
    (tmp_path / "vocab.json").write_text(vocabulary)
    (tmp_path / "merges.txt").write_text(merges)
    with pytest.raises(VocabularyError, match="damaged"):
        BpeTokenizer.from_folder(tmp_path)


def test_another_vocabulary_is_refused(hub_layout: Path, tmp_path: Path):
    """A vocabulary of the same kind with other ids, such as GPT-2's own numbers or another language's."""
    words = json.loads((hub_layout / "vocab.json").read_text(encoding="utf-8"))
    (tmp_path / "vocab.json").write_text(json.dumps({word: number + 5 for word, number in words.items()}))
    shutil.copy(hub_layout / "merges.txt", tmp_path)
    with pytest.raises(VocabularyError, match="not OFA's English vocabulary"):
        BpeTokenizer.from_folder(tmp_path)


@pytest.fixture
def words() -> WordTokenizer:
    return WordTokenizer(
        {"road": 4, "sky": 5, "traffic light": 6, "t shirt": 7}, {"street": "road", "stoplight": "traffic light"}
    )


@pytest.mark.parametrize(
    ("text", "token"),
    [("road", 4), ("Traffic  Light", 6), ("traffic_light", 6), ("T-shirt", 7), ("street", 4), ("STOPLIGHT", 6)],
)
def test_whole_words_and_aliases(words: WordTokenizer, text: str, token: int):
    assert words.encode(text) == [token]


def test_an_unknown_word_names_its_neighbours(words: WordTokenizer):
    with pytest.raises(VocabularyError, match=r"'traffic lihgt'; nearest known: traffic light, ") as caught:
        words.encode("traffic lihgt")
    assert str(caught.value).count(",") == 2
    assert "adapt an OFA model" in (caught.value.hint or "")


def test_prompt_of_whole_words(words: WordTokenizer):
    prompt, category_ids = build_prompt(words, Vocabulary.parse("sky, traffic light"), "")
    assert prompt == [0, 5, 6, 3, 2]
    assert category_ids == [[[5]], [[6]]]


def test_two_categories_of_one_token_are_refused(words: WordTokenizer):
    with pytest.raises(VocabularyError, match="'road' and 'street' are the same word to the model"):
        build_prompt(words, Vocabulary.parse("road, sky, street"), "")


def test_stored_words_are_the_same_tokenizer(words: WordTokenizer):
    entry = words.to_entry()
    again = WordTokenizer(entry["words"], entry["aliases"])
    assert (entry["kind"], again.identity) == ("words", words.identity)
    assert again.encode("stoplight") == [6]
