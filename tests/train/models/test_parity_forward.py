"""Pictures to logits and neighbours against the reference, at the five input sizes (spec 4 to 9)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from train.models.refinement import neighbours, refine

CASES = ("c512", "c256", "c384x640", "c512x683", "c320x704")
# The reference's own float32 noise is 1e-5 to 5e-5 on features, 2e-5 on encoder states and logits, 1e-6 on
# probabilities (spec 13).
FEATURES, STATES, LOGITS, PROBABILITIES = 5e-5, 3e-5, 1e-4, 5e-6
CERTAIN_GAP = 1e-5

pytestmark = pytest.mark.parametrize("case", CASES)


def probabilities(logits, indices):
    """Refined probabilities ``[B, n, C]`` of logits that still have the end-of-sequence row."""
    return refine(torch.softmax(logits[:, :-1], dim=-1), indices, rounds=25)


def test_features(traced, forward_arrays, case):
    found = traced(case).features.numpy()
    np.testing.assert_allclose(found.mean(axis=2), forward_arrays[f"{case}/feat_mean"], atol=FEATURES, rtol=0)
    np.testing.assert_allclose(np.linalg.norm(found, axis=2), forward_arrays[f"{case}/feat_norm"], rtol=1e-5)
    if case == "c256":
        np.testing.assert_allclose(found, forward_arrays["c256/feat"], atol=FEATURES, rtol=0)
    for name, sample in (("feat_f16_b0", found[:1, :256]), ("feat_f16_first128", found[:, :128])):
        if f"{case}/{name}" in forward_arrays:
            expected = forward_arrays[f"{case}/{name}"].astype(np.float32)
            # stored in half precision: 2^-11 relative
            np.testing.assert_allclose(sample.reshape(expected.shape), expected, atol=FEATURES, rtol=2**-11)


def test_encoder_output(traced, forward_arrays, case):
    expected = forward_arrays[f"{case}/enc_out"]
    np.testing.assert_allclose(traced(case).memory.numpy(), expected, atol=STATES, rtol=0)


def test_logits(traced, forward_arrays, adapted, case):
    found = traced(case).logits.numpy()
    np.testing.assert_allclose(found, forward_arrays[f"{case}/logits"], atol=LOGITS, rtol=0)
    with torch.no_grad():
        picture = forward_arrays[f"{case}/image_u8"][:1]
        alone = adapted((torch.from_numpy(picture).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5).numpy()
    np.testing.assert_allclose(alone, forward_arrays[f"{case}/b1_logits"][:, :-1], atol=LOGITS, rtol=0)


def test_neighbours(traced, forward_arrays, case):
    trace = traced(case)
    found = neighbours(trace.features.transpose(1, 2).unflatten(2, trace.grid), k=3).numpy()
    expected = forward_arrays[f"{case}/knn_ind"].astype(np.int64)
    certain = forward_arrays[f"{case}/knn_gap"] > CERTAIN_GAP
    assert certain.mean() > 0.9
    np.testing.assert_array_equal(np.sort(found, axis=2)[certain], np.sort(expected, axis=2)[certain])


def test_averaging_of_the_golden_neighbours(forward_arrays, case):
    logits = torch.from_numpy(forward_arrays[f"{case}/logits"])
    indices = torch.from_numpy(forward_arrays[f"{case}/knn_ind"].astype(np.int64))
    expected = forward_arrays[f"{case}/prob"]
    np.testing.assert_allclose(probabilities(logits, indices).numpy(), expected[:, :-1], atol=PROBABILITIES, rtol=0)
    assert not expected[:, -1].any()
