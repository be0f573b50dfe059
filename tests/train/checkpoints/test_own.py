"""Our own checkpoint: complete, atomic, and never a program."""

from __future__ import annotations

import argparse
import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ifseg_rt.artifact.sidecar import file_sha256
from ifseg_rt.errors import CheckpointError
from train import load_model
from train.checkpoints.own import Checkpoint, read_checkpoint, save_checkpoint
from train.checkpoints.safe_pickle import load_untrusted
from train.models.ofa.config import PRESETS
from train.models.ofa.model import IFSegModel
from train.words.tokenizer import WordTokenizer
from train.words.vocabulary import Category, Vocabulary

PROVENANCE = {"base": "test", "base_sha256": "0" * 64, "seed": 3, "steps": 10, "final_loss": 1.25}
VOCABULARY = Vocabulary((Category("road", ("street",), (128, 64, 128)), Category("sky")))


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    """A whole-word model of the smallest size, with two categories."""
    config = replace(
        PRESETS["mini"], name="custom", vocab_size=16, tokenizer="words", prompt_prefix="", max_text_positions=32
    )
    torch.manual_seed(0)
    words = WordTokenizer({"road": 4, "street": 5, "sky": 6}, {"lane": "road"})
    return Checkpoint(
        config, IFSegModel(config).state_dict(), VOCABULARY, [0, 4, 6, 3, 2], [[[4], [5]], [[6]]], words.to_entry(),
        PROVENANCE,
    )  # fmt: skip


@pytest.fixture
def path(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    save_checkpoint(checkpoint, tmp_path / "ckpt.pt")
    return tmp_path / "ckpt.pt"


def changed(path: Path, **entries) -> Path:
    document = torch.load(path, weights_only=True)
    torch.save({**document, **entries}, path)
    return path


def test_everything_comes_back(checkpoint: Checkpoint, path: Path):
    found = read_checkpoint(path)
    assert replace(found, state={}) == replace(checkpoint, state={})
    assert list(found.state) == list(checkpoint.state)
    assert all(torch.equal(found.state[name], tensor) for name, tensor in checkpoint.state.items())


def test_the_file_needs_no_unpickling_of_code_and_says_what_it_is(path: Path):
    document = torch.load(path, weights_only=True)
    assert (document["format"], document["version"]) == ("ifseg-rt-checkpoint", 2)
    assert torch.serialization.get_unsafe_globals_in_checkpoint(path) == []


def test_a_model_rebuilds_itself_from_the_file_alone(checkpoint: Checkpoint, path: Path):
    model = load_model(path)
    assert not model.training
    assert model.vocabulary == VOCABULARY
    assert model.prompt_ids.tolist() == checkpoint.prompt_ids
    assert {**model.provenance, "adapted": None} == {**PROVENANCE, "adapted": None}
    table = checkpoint.state["encoder.embed_tokens.weight"]
    expected = torch.stack([(table[4] + table[5]) / 2, table[6]])
    torch.testing.assert_close(model.category_embedding, expected, rtol=0, atol=1e-7)
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 64, 96)).shape == (1, 4 * 6, 2)


def test_other_categories_from_the_words_it_carries(path: Path):
    model = load_model(path, "sky, lane")
    assert model.vocabulary.names == ("sky", "lane")
    assert model.prompt_ids.tolist() == [0, 6, 4, 3, 2]


def test_half_precision_comes_back_as_float32(checkpoint: Checkpoint, tmp_path: Path):
    rounded = {name: tensor.half().float() for name, tensor in checkpoint.state.items()}
    save_checkpoint(replace(checkpoint, state=rounded), tmp_path / "half.pt", half=True)
    save_checkpoint(replace(checkpoint, state=rounded), tmp_path / "full.pt")
    assert (tmp_path / "half.pt").stat().st_size < 0.6 * (tmp_path / "full.pt").stat().st_size
    found = read_checkpoint(tmp_path / "half.pt").state
    assert all(torch.equal(found[name], tensor) for name, tensor in rounded.items())


def test_a_failed_save_leaves_the_old_file(checkpoint: Checkpoint, path: Path, monkeypatch: pytest.MonkeyPatch):
    before = file_sha256(path)

    def fail(document, file) -> None:
        file.write(b"half a checkpoint")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(checkpoint, path)
    assert file_sha256(path) == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        ({"version": 3}, "version 3"),
        ({"config": None}, "config"),
        ({"vocabulary": [{"name": "road"}, {"name": "sky"}]}, "category 1"),
        ({"vocabulary": []}, "prompt_ids, category_ids"),
        ({"prompt_ids": [0, -7, 2]}, "prompt_ids"),
        ({"category_ids": [[[4]], [[99]]]}, "category_ids"),
        ({"category_ids": [[[4]]]}, "category_ids"),
        ({"category_ids": [[[4]], []]}, "category_ids"),
        ({"tokenizer": {"kind": "words"}}, "tokenizer"),
        ({"tokenizer": {"kind": "bpe", "identity": "x"}}, "tokenizer"),
        ({"provenance": []}, "provenance"),
        ({"model": {"encoder.layer_norm.weight": "x"}}, "model"),
    ],
)
def test_damaged_entries_are_named(path: Path, entries: dict, named: str):
    with pytest.raises(CheckpointError, match=named) as caught:
        read_checkpoint(changed(path, **entries))
    assert caught.value.hint


@pytest.mark.parametrize(
    "change", [{"surprise": 1}, {"d_model": "wide"}, {"backbone": "vit"}, {"heads": 5}], ids=lambda c: next(iter(c))
)
def test_configurations_that_fit_no_model_are_refused(path: Path, change: dict):
    config = torch.load(path, weights_only=True)["config"]
    with pytest.raises(CheckpointError):
        load_model(changed(path, config={**config, **change}))


def test_no_table_is_made_up_for_our_own_file(checkpoint: Checkpoint, tmp_path: Path):
    """Only an OFA file may lack the segmentation tables; in ours they are weights like any other."""
    state = {name: tensor for name, tensor in checkpoint.state.items() if "seg_" not in name}
    save_checkpoint(replace(checkpoint, state=state), tmp_path / "ckpt.pt")
    with pytest.raises(CheckpointError, match=r"decoder\.embed_seg_positions\.weight \(missing\)"):
        load_model(tmp_path / "ckpt.pt")


def test_another_format_is_refused(tmp_path: Path):
    torch.save({"model": {}}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="not a checkpoint of ours"):
        read_checkpoint(tmp_path / "other.pt")


class Bomb:
    """Unpickling an instance without care leaves a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("form", ["zip", "old", "in the options", "bare pickle", "bare pickle 4"])
def test_a_program_in_a_file_is_never_run(tmp_path: Path, form: str):
    bomb, path = Bomb(tmp_path / "exploded"), tmp_path / "bomb.pt"
    if form == "zip":
        torch.save({"model": {}, "extra": bomb}, path)
    elif form == "old":
        torch.save({"model": {}, "extra": bomb}, path, _use_new_zipfile_serialization=False)
    elif form == "in the options":
        torch.save({"model": {}, "cfg": {"model": argparse.Namespace(task=bomb)}}, path)
    else:
        path.write_bytes(pickle.dumps(bomb, protocol=4 if form.endswith("4") else 2))
    with pytest.raises(CheckpointError) as caught:
        load_untrusted(path)
    assert not (tmp_path / "exploded").exists()
    assert caught.value.hint
    if "bare" not in form:
        assert "posix.mkdir" in str(caught.value) or "nt.mkdir" in str(caught.value)


def test_a_foreign_class_is_named(tmp_path: Path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    with pytest.raises(CheckpointError, match=r"torch\.nn\.modules\.linear\.Linear"):
        load_untrusted(tmp_path / "module.pt")


def test_the_reference_options_are_read(tmp_path: Path):
    torch.save({"cfg": {"model": argparse.Namespace(arch="segofa_base")}}, tmp_path / "options.pt")
    assert load_untrusted(tmp_path / "options.pt")["cfg"]["model"].arch == "segofa_base"


def test_cut_off_and_foreign_files_are_refused(path: Path, tmp_path: Path):
    whole = path.read_bytes()
    other = tmp_path / "other.pt"
    for content in (
        b"",
        b"hello\n" * 9,
        whole[:100],
        whole[: len(whole) // 2],
        whole[:-30],
        b"PK\x03\x04" + whole[4:90],
    ):
        other.write_bytes(content)
        with pytest.raises(CheckpointError, match=rf"cut off or damaged \({len(content)} bytes\)"):
            load_untrusted(other)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_untrusted(tmp_path / "none.pt")
