"""One set of weights in three files gives one model; an un-adapted start equals the reference's (spec 11.5 and 12)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from train import load_model

NAMES = "giraffe, traffic light, sky, grass, potted plant"
SEGMENTATION = ("embed_seg_positions", "seg_pos_ln", "seg_rel_pos_table_list")


def is_segmentation(name):
    return any(part in name for part in SEGMENTATION)


@pytest.fixture(scope="module", params=["ckpt_ofa.pt", "ckpt_hf"])
def unadapted(request, weights, bpe):
    return load_model(weights / request.param, NAMES, tokenizer=bpe)


def test_every_tensor_is_the_adapted_files(unadapted, adapted):
    found, expected = unadapted.state_dict(), adapted.state_dict()
    assert list(found) == list(expected)
    rows = len(found["encoder.embed_tokens.weight"])
    assert (rows, len(expected["encoder.embed_tokens.weight"])) == (59457, 59458)
    for name, tensor in expected.items():
        if not is_segmentation(name):
            wanted = tensor[:rows] if name == "encoder.embed_tokens.weight" else tensor
            assert torch.equal(found[name], wanted), name
    assert torch.equal(unadapted.category_embedding, adapted.category_embedding)


@pytest.mark.parametrize("case", ["c512", "c384x640"])
def test_neutral_start(weights, bpe, forward_arrays, case):
    model = load_model(weights / "ckpt_ofa.pt", NAMES, tokenizer=bpe)
    neutral = {
        name: torch.ones_like(tensor) if name.endswith("seg_pos_ln.weight") else torch.zeros_like(tensor)
        for name, tensor in model.state_dict().items()
        if is_segmentation(name)
    }
    model.load_state_dict({**model.state_dict(), **neutral})
    pixels = torch.from_numpy(forward_arrays[f"{case}/image_u8"][:1]).permute(0, 3, 1, 2).float()
    picture = (pixels / 255 - 0.5) / 0.5
    with torch.no_grad():
        features = model.features(picture)
        found = model.all_logits(model.project(features), tuple(features.shape[2:]))[0].numpy()
    np.testing.assert_allclose(found, forward_arrays[f"{case}/neutral_seg_logits"], atol=1e-4, rtol=0)


def test_new_tables_follow_the_seed(weights, bpe):
    def tables(seed):
        model = load_model(weights / "ckpt_ofa.pt", NAMES, tokenizer=bpe, seed=seed)
        return {name: tensor for name, tensor in model.state_dict().items() if is_segmentation(name)}

    first, again, other = tables(0), tables(0), tables(1)
    for name, tensor in first.items():
        assert torch.equal(tensor, again[name])
        if "seg_pos_ln" in name:
            assert torch.equal(tensor, torch.full_like(tensor, float(name.endswith("weight"))))
        else:
            assert not torch.equal(tensor, other[name])
            assert abs(float(tensor.mean())) < 5e-4
            assert float(tensor.std()) == pytest.approx(0.02, rel=0.05)


def test_adaptedness_is_recorded(unadapted, adapted):
    assert unadapted.provenance["adapted"] is False
    assert adapted.provenance["adapted"] is True
