"""``load_model`` on every layout: what it takes from files, and what it refuses by name."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import train.load
from ifseg_rt.artifact.sidecar import file_sha256
from ifseg_rt.errors import CheckpointError, UsageError, VocabularyError
from train import load_model
from train.checkpoints.ofa_layout import infer_config
from train.checkpoints.own import save_checkpoint
from train.loaded_model import LoadedModel, checkpoint_of
from train.models.ofa.config import PRESETS
from train.models.ofa.model import IFSegModel
from train.words.vocabulary import Vocabulary

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def damaged(weights: Path, tmp_path: Path) -> Callable[[str, Change], Path]:
    """Copy of a fixture file with its tensors changed."""

    def make(name: str, change: Change) -> Path:
        with torch.serialization.safe_globals([argparse.Namespace]):
            document = torch.load(weights / name, weights_only=True)
        tensors = dict(document["model"])
        change(tensors)
        path = tmp_path / name
        torch.save({"cfg": document["cfg"], "model": tensors}, path)
        return path

    return make


def without(*parts: str) -> Change:
    return lambda tensors: [tensors.pop(name) for name in list(tensors) if any(part in name for part in parts)]


def test_the_adapted_checkpoint_brings_its_categories(adapted: LoadedModel[IFSegModel], weights: Path, forward_arrays):
    assert adapted.vocabulary.names == ("giraffe", "traffic light", "sky", "grass", "potted plant")
    assert adapted.prompt_ids.tolist() == forward_arrays["prompt_ids"].tolist()
    flat = [token for names in adapted.category_ids for token in names[0]]
    lengths = [len(names[0]) for names in adapted.category_ids]
    # the golden lists end with "unknown", which is in the prompt but is no category
    assert [*flat, 4727] == forward_arrays["cat_ids"].tolist()
    assert [*lengths, 1] == forward_arrays["cat_len"].tolist()
    np.testing.assert_array_equal(adapted.category_embedding.numpy(), forward_arrays["seg_embed_tokens"])
    assert not adapted.training
    assert adapted.config == replace(PRESETS["mini"], vocab_size=59458)
    assert adapted.provenance == {
        "base": "ckpt_ifseg.pt",
        "base_sha256": file_sha256(weights / "ckpt_ifseg.pt"),
        "adapted": True,
    }


def test_only_used_tensors_are_kept(adapted: LoadedModel[IFSegModel], golden: Path):
    known = json.loads((golden / "keys_ifseg.json").read_text(encoding="utf-8"))
    for name, tensor in adapted.state_dict().items():
        assert known[name][0] == list(tensor.shape), name
        assert tensor.dtype == torch.float32


@pytest.mark.parametrize("name", ["ckpt_ifseg.pt", "ckpt_ofa.pt", "ckpt_hf"])
def test_categories_given_replace_any_in_the_file(weights: Path, bpe: Path, name: str):
    model = load_model(weights / name, ["sky", "swivel chair"], tokenizer=bpe)
    assert model.vocabulary.names == ("sky", "swivel chair")
    assert model.category_ids == [[[6360]], [[3514, 2088, 462, 3428]]]
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 64, 48)).shape == (1, 12, 2)


def test_synonyms_are_averaged(weights: Path, bpe: Path, tmp_path: Path):
    (tmp_path / "names.txt").write_text("road, potted plant #804080\nsky\n")
    model = load_model(weights / "ckpt_ofa.pt", tmp_path / "names.txt", tokenizer=bpe)
    table = model.encoder.embed_tokens.weight
    expected = (table[921] + table[[181, 14265, 2195]].mean(dim=0)) / 2
    torch.testing.assert_close(model.category_embedding[0], expected, rtol=0, atol=1e-7)
    assert model.vocabulary.categories[0].color == (128, 64, 128)


@pytest.mark.parametrize("name", ["ckpt_ofa.pt", "ckpt_hf"])
def test_a_base_without_categories_asks_for_them(weights: Path, bpe: Path, name: str):
    with pytest.raises(VocabularyError, match="carries no categories") as caught:
        load_model(weights / name, tokenizer=bpe)
    assert "categories=" in (caught.value.hint or "")


def test_a_prompt_beyond_the_position_table_is_refused(weights: Path, bpe: Path):
    names = [f"quite a long name number {i}" for i in range(200)]
    reason = r"the prompt has \d{4} tokens for 200 categories, the model's position tables reach to 1024"
    with pytest.raises(VocabularyError, match=reason):
        load_model(weights / "ckpt_ofa.pt", names, tokenizer=bpe)


def test_tokenizer_files_beside_the_weights_are_found(weights: Path, bpe: Path, tmp_path: Path):
    for name in ("encoder.json", "vocab.bpe", "dict.txt"):
        shutil.copy(bpe / name, tmp_path / name)
    shutil.copy(weights / "ckpt_ofa.pt", tmp_path)
    assert load_model(tmp_path / "ckpt_ofa.pt", "sky").category_ids == [[[6360]]]


def test_our_own_file_of_an_ofa_model_needs_no_tokenizer(
    adapted: LoadedModel[IFSegModel], tmp_path: Path, forward_arrays
):
    save_checkpoint(checkpoint_of(adapted, {**adapted.provenance, "seed": 0}), tmp_path / "ckpt.pt")
    again = load_model(tmp_path / "ckpt.pt")
    assert again.vocabulary == adapted.vocabulary
    assert again.provenance == {**adapted.provenance, "seed": 0}
    assert again.tokenizer_entry == adapted.tokenizer_entry
    picture = (torch.from_numpy(forward_arrays["c256/image_u8"][:1]).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    with torch.no_grad():
        assert torch.equal(again(picture), adapted(picture))


@pytest.mark.parametrize(
    ("name", "rows"),
    [("tiny", 59457), *((name, 59458) for name in ("tiny", "medium", "base", "large", "huge", "mini"))],
)
def test_every_published_size_is_recognised_from_shapes(name: str, rows: int):
    config = replace(PRESETS[name], vocab_size=rows)
    with torch.device("meta"):
        state = IFSegModel(config).state_dict()
    assert infer_config(state, "test") == config


def test_missing_tensors_are_named_up_to_five(damaged, bpe: Path):
    path = damaged("ckpt_ofa.pt", without("layers.1.fc1.weight"))
    with pytest.raises(CheckpointError) as caught:
        load_model(path, "sky", tokenizer=bpe)
    assert "encoder.layers.1.fc1.weight (missing), decoder.layers.1.fc1.weight (missing)" in str(caught.value)
    path = damaged("ckpt_ofa.pt", without("bias"))
    with pytest.raises(CheckpointError, match=r"and \d+ more") as caught:
        load_model(path, "sky", tokenizer=bpe)
    assert str(caught.value).count("(missing)") == 5


@pytest.mark.parametrize(
    "parts",
    [
        ("encoder.layers.1.",),
        ("decoder.layers.1.",),
        ("encoder.layers.1.", "encoder.token_rel_pos_table_list.1."),
        ("embed_images.layer2.",),
        ("encoder.embed_images.",),
        ("encoder.embed_tokens.weight",),
        ("c_attn",),
    ],
)
def test_a_missing_part_never_makes_a_smaller_model(damaged, bpe: Path, parts: tuple[str, ...]):
    with pytest.raises(CheckpointError, match=r"missing|has no"):
        load_model(damaged("ckpt_ofa.pt", without(*parts)), "sky", tokenizer=bpe)


def test_half_of_the_segmentation_tables_is_not_completed(damaged, bpe: Path):
    path = damaged("ckpt_ifseg.pt", without("seg_rel_pos_table_list.1"))
    with pytest.raises(CheckpointError, match=r"decoder\.seg_rel_pos_table_list\.1\.weight \(missing\)"):
        load_model(path, tokenizer=bpe)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("encoder.layer_norm.weight", torch.ones(3), r"encoder\.layer_norm\.weight \(expected \[64\], found \[3\]\)"),
        ("encoder.layer_norm.bias", torch.full((64,), torch.nan), r"encoder\.layer_norm\.bias \(.*not finite"),
        ("encoder.embed_tokens.weight", torch.ones(64), "unexpected shapes"),
        ("encoder.layers.0.self_attn.c_attn", torch.tensor(1.0), "unexpected shapes"),
        ("encoder.layers.0.self_attn.c_attn", torch.ones(5), "5 heads"),
    ],
)
def test_tensors_that_do_not_fit_are_named(damaged, bpe: Path, name: str, tensor: torch.Tensor, message: str):
    path = damaged("ckpt_ofa.pt", lambda tensors: tensors.update({name: tensor}))
    with pytest.raises(CheckpointError, match=message):
        load_model(path, "sky", tokenizer=bpe)


def test_the_chinese_vocabulary_is_refused(damaged, bpe: Path):
    path = damaged(
        "ckpt_ofa.pt", lambda tensors: tensors.update({"encoder.embed_tokens.weight": torch.ones(30321, 64)})
    )
    with pytest.raises(CheckpointError, match="30321 token embeddings, English OFA has 59457") as caught:
        load_model(path, "sky", tokenizer=bpe)
    assert "Chinese" in (caught.value.hint or "")


@pytest.mark.parametrize("document", [[1, 2], {"model": 3}, {"model": {"weight": 1}}, "text", None])
def test_files_without_a_model_are_refused(tmp_path: Path, document):
    torch.save(document, tmp_path / "odd.pt")
    with pytest.raises(CheckpointError, match=r"odd\.pt"):
        load_model(tmp_path / "odd.pt", "sky")


def test_folders_that_are_no_model_are_refused(weights: Path, tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"no config\.json and no pytorch_model\.bin"):
        load_model(tmp_path, "sky")
    shutil.copy(weights / "ckpt_hf" / "pytorch_model.bin", tmp_path)
    with pytest.raises(CheckpointError, match=r"it has no config\.json$"):
        load_model(tmp_path, "sky")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{oops", "not readable as JSON"),
        ("[]", "holds no settings"),
        ('{"d_model": 768}', r"d_model \(expected 64, found 768\)"),
        ('{"attn_scale_factor": 1.0}', r"attn_scale_factor \(expected 2\.0, found 1\.0\)"),
        ('{"entangle_position_embedding": true}', "entangle_position_embedding"),
    ],
)
def test_settings_that_contradict_the_weights_are_named(
    weights: Path, bpe: Path, tmp_path: Path, text: str, named: str
):
    shutil.copy(weights / "ckpt_hf" / "pytorch_model.bin", tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=named):
        load_model(tmp_path, "sky", tokenizer=bpe)


def test_a_missing_file_is_no_hub_id(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(train.load.hub, "download", lambda *_, **__: pytest.fail("asked the hub for a local file"))
    with pytest.raises(CheckpointError, match=r"no such checkpoint: weights/ckpt\.pt"):
        load_model("weights/ckpt.pt", "sky")


@pytest.fixture(scope="module")
def micro() -> str:
    if not train.load.MICRO.is_file():
        pytest.skip("the shipped base model is absent")
    return "micro"


def test_micro_is_the_same_kind_of_model(micro: str):
    model = load_model(micro, "sky, road, tree")
    assert isinstance(model.module, IFSegModel)
    assert (model.config.name, model.provenance["base"], model.provenance["adapted"]) == ("micro", "micro", False)
    assert model.prompt_ids.tolist()[0] == 0
    assert model.prompt_ids.tolist()[-2:] == [3, 2]
    with torch.no_grad():
        assert model(torch.zeros(2, 3, 64, 100)).shape == (2, 4 * 7, 3)


def test_micro_refuses_unknown_words(micro: str):
    with pytest.raises(VocabularyError, match=r"does not know the word 'rroad'; nearest known: road"):
        load_model(micro, "sky, rroad")


def test_micro_takes_no_other_tokenizer(micro: str, tmp_path: Path):
    with pytest.raises(UsageError, match="whole words"):
        load_model(micro, Vocabulary.parse("sky"), tokenizer=tmp_path)
