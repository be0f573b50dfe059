"""Position codes, attention biases, bucket tables and the states between layers against the reference (spec 5 to 7)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from train.models.ofa.positions import grid_offsets, token_buckets

CASES = ("c512", "c256", "c384x640", "c512x683", "c320x704")
BIASES = ("enc0_self_attn", "enc1_self_attn", "dec0_self_attn", "dec1_self_attn", "dec0_cross_attn")
TOLERANCE = 3e-5


@pytest.fixture(scope="module")
def long_prompt(golden):
    return np.load(golden / "forward_ade150.npz")


@pytest.mark.parametrize("name", BIASES)
@pytest.mark.parametrize("case", CASES)
def test_biases(traced, forward_arrays, case, name):
    trace = traced(case)
    if name == "dec0_cross_attn":
        bias = trace.cross_bias
    else:
        bias = (trace.encoder_biases if name.startswith("enc") else trace.decoder_biases)[int(name[3])]
    head, query, key = torch.from_numpy(forward_arrays[f"{case}/{name}_bias_idx"].astype(np.int64)).unbind(dim=1)
    expected = forward_arrays[f"{case}/{name}_bias_val"]
    np.testing.assert_allclose(bias[head, query, key].numpy(), expected, atol=TOLERANCE, rtol=0)


def test_position_codes(traced, forward_arrays):
    np.testing.assert_allclose(
        traced("c256").positions.numpy(), forward_arrays["c256/enc_pos_embed"], atol=TOLERANCE, rtol=0
    )


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("stack", ["enc", "dec"])
def test_states_between_layers(traced, forward_arrays, stack, index):
    trace = traced("c256")
    found = (trace.encoder_states if stack == "enc" else trace.decoder_states)[index][0]
    np.testing.assert_allclose(found.numpy(), forward_arrays[f"c256/{stack}_state{index}"], atol=TOLERANCE, rtol=1e-5)


def test_last_decoder_state(traced, forward_arrays):
    found = traced("c256").penultimate[0].numpy()
    np.testing.assert_allclose(found, forward_arrays["c256/penultimate"], atol=TOLERANCE, rtol=1e-5)


def test_text_buckets_of_every_distance(long_prompt):
    expected = long_prompt["token_bucket_of_rel"]
    longest = len(expected) // 2
    buckets = token_buckets(longest + 1, 256, torch.device("cpu"))
    found = torch.cat([buckets[0].flip(0), buckets[1:, 0]])  # distances -1023 .. 1023
    np.testing.assert_array_equal(found.numpy(), expected)


def test_image_buckets(long_prompt):
    """Sampled entries of the reference's table over positions; position 0 is no patch and is never looked up."""
    pairs, expected = long_prompt["image_rp_bucket_idx"], long_prompt["image_rp_bucket_val"]
    patches = (pairs > 0).all(axis=1)
    assert patches.sum() > 300
    query, key = (pairs[patches] - 1).T
    found = grid_offsets(42, 42, torch.device("cpu")).numpy()[query, key]
    np.testing.assert_array_equal(found, expected[patches])


def test_decoder_buckets(adapted, long_prompt):
    """Sampled entries, the begin-of-sequence row and column among them, through the table they look up."""
    query, key = torch.from_numpy(long_prompt["seg_rp_bucket_idx"].astype(np.int64)).unbind(dim=1)
    rows = torch.from_numpy(long_prompt["seg_rp_bucket_val"].astype(np.int64))
    assert {3969, 3970} <= set(rows.tolist())
    with torch.no_grad():
        found = adapted.decoder.relative_bias(0, (32, 32))
    table = adapted.decoder.seg_rel_pos_table_list[0].weight
    assert torch.equal(found[:, query, key].t(), table[rows])
    assert torch.equal(found[:, 0, 0], table[3971])
