"""150 categories: a prompt long enough for the logarithmic text buckets (spec 5 and 13)."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from train import load_model


@pytest.fixture(scope="module")
def arrays(golden):
    return np.load(golden / "forward_ade150.npz")


@pytest.fixture(scope="module")
def model(weights, bpe, shared):
    entries = json.loads((shared / "reference" / "bpe_ids.json").read_text(encoding="utf-8"))["ade"]["categories"]
    names = [entry["name"] for entry in entries if entry["name"] != "unknown"]
    return load_model(weights / "ckpt_ifseg.pt", names, tokenizer=bpe)


@pytest.fixture(scope="module")
def trace(model, tracer, forward_arrays):
    return tracer(model, forward_arrays["c256/image_u8"][:1])


def test_prompt_and_category_embeddings(model, arrays):
    assert model.prompt_ids.tolist() == arrays["prompt_ids"].tolist()
    np.testing.assert_array_equal(model.category_embedding.numpy(), arrays["seg_embed_tokens"])


def test_states_and_logits(trace, arrays):
    np.testing.assert_allclose(trace.memory[0].numpy(), arrays["enc_out"], atol=3e-5, rtol=0)
    np.testing.assert_allclose(trace.logits[0].numpy(), arrays["logits"], atol=1e-4, rtol=0)


def test_the_longest_prompt_runs_and_a_longer_one_is_refused() -> None:
    from dataclasses import replace

    from ifseg_rt.errors import VocabularyError
    from train.models.ofa.config import PRESETS
    from train.models.ofa.model import IFSegModel

    config = replace(PRESETS["mini"], d_model=8, heads=1, ffn_dim=8, encoder_layers=1, decoder_layers=1, vocab_size=50)
    model = IFSegModel(config).eval()
    longest = config.max_prompt_tokens
    model.set_vocabulary([0, *[10] * (longest - 2), 2], [[[10]], [[11]]])
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 4, 2)
    with pytest.raises(VocabularyError, match="reach to 1024"):
        model.set_vocabulary([0, *[10] * (longest - 1), 2], [[[10]], [[11]]])
