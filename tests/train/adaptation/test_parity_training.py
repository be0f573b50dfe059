"""Image-free forward, loss and gradients against the reference (spec 11.1 to 11.3)."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from train import load_model
from train.adaptation.objective import upsampled_cross_entropy

# Mathematically zero: they shift a whole row before softmax, so that what is left is rounding noise (spec 11.3).
DEAD = (".k_proj.bias", "pos_k_linear.bias")


@pytest.fixture(scope="module")
def arrays(golden):
    return np.load(golden / "train.npz")


@pytest.fixture(scope="module")
def facts(golden):
    return json.loads((golden / "train_meta.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def maps(arrays):
    return torch.from_numpy(np.stack([arrays[f"s{i}/ids32"] for i in range(2)]).astype(np.int64))


@pytest.fixture(scope="module")
def model(weights, bpe):
    loaded = load_model(weights / "ckpt_ifseg.pt", tokenizer=bpe)
    loaded.freeze_for_adaptation()
    return loaded


@pytest.fixture(scope="module")
def loss(model, arrays, maps):
    """Loss in eval mode: the reference was recorded without dropout and drop-path."""
    target = torch.from_numpy(np.stack([arrays[f"s{i}/target512"] for i in range(2)]).astype(np.int64))
    value = upsampled_cross_entropy(model.forward_artificial(maps), target)
    value.backward()
    return value.item()


@pytest.fixture(scope="module")
def gradients(model, loss):
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def test_prompt(model, arrays):
    assert model.prompt_ids.tolist() == arrays["prompt_ids"].tolist()


def test_word_patches_are_means_over_sub_words(model, arrays, maps):
    """``embedbag_ids`` and ``embedbag_cumlen``: the sub-words behind every patch of an artificial picture."""
    for sample in range(2):
        ids, ends = arrays[f"s{sample}/embedbag_ids"], arrays[f"s{sample}/embedbag_cumlen"]
        words = np.split(ids, ends[:-1])
        categories = maps[sample].flatten().tolist()
        assert [list(word) for word in words] == [model.category_ids[c][0] for c in categories]


def test_encoder_output_and_logits(model, arrays, maps):
    with torch.no_grad():
        patches = model.category_embedding[maps.flatten(1)]
        text = len(model.prompt_ids)
        positions = model.encoder.positions((32, 32), text)
        biases = model.encoder.layer_biases(positions, (32, 32), text)
        memory = model.encoder(patches, model.prompt_ids, biases)
        logits = model.all_logits(patches, (32, 32))
    np.testing.assert_allclose(memory.numpy(), arrays["artificial_enc_out"], atol=3e-5, rtol=0)
    np.testing.assert_allclose(logits.numpy(), arrays["artificial_logits"], atol=1e-4, rtol=0)


def test_loss(loss, arrays, facts):
    assert loss == pytest.approx(float(arrays["loss"]), rel=1e-6)
    assert loss == pytest.approx(facts["noise"]["loss_fp64"], rel=1e-6)


def test_the_same_parameters_are_frozen(model, facts):
    ours = dict(model.named_parameters())
    for name, trained in facts["requires_grad"].items():
        if name in ours:
            assert ours[name].requires_grad is trained, name
    assert set(ours) - set(facts["requires_grad"]) == set()


def test_every_gradient_norm(model, gradients, facts):
    """The reference records no gradient for parameters that the segmentation path does not use; we have none."""
    unused = {name for name, norm in facts["grad_norm"].items() if norm is None}
    assert unused.isdisjoint(name for name, _ in model.named_parameters())
    assert set(gradients) == set(facts["grad_norm"]) - unused
    for name, norm in facts["grad_norm"].items():
        if norm is not None and not name.endswith(DEAD):
            assert float(gradients[name].norm()) == pytest.approx(norm, rel=1e-5), name


def test_largest_gradient_entries(gradients, arrays):
    names = [key.removeprefix("grad/").removesuffix("/idx") for key in arrays.files if key.endswith("/idx")]
    checked = [name for name in names if f"grad/{name}/val" in arrays.files and not name.endswith(DEAD)]
    assert len(checked) > 10
    for name in checked:
        found = gradients[name].flatten().double()
        expected = arrays[f"grad/{name}/val"]
        index = torch.from_numpy(arrays[f"grad/{name}/idx"].astype(np.int64))
        scale = float(np.abs(expected).max())
        np.testing.assert_allclose(found[index].numpy(), expected, atol=1e-4 * scale, rtol=0, err_msg=name)
        norm = float(arrays[f"grad/{name}/norm"])
        assert float(found.norm()) == pytest.approx(norm, rel=1e-4), name
        assert float(found.sum()) == pytest.approx(float(arrays[f"grad/{name}/sum"]), abs=1e-3 * norm), name


def test_whole_gradients(gradients, arrays):
    names = [key.removeprefix("gradfull/") for key in arrays.files if key.startswith("gradfull/")]
    assert names
    for name in names:
        if not name.endswith(DEAD):
            expected = arrays[f"gradfull/{name}"]
            found = gradients[name].numpy().reshape(expected.shape)
            np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max(), rtol=0, err_msg=name)
