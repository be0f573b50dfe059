"""The last two steps of the method against golden arrays of the reference (spec 8, 9 and 13)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ifseg_rt.host.refinement import refine, softmax
from ifseg_rt.upsampling.labels import upsample_labels

GOLDEN = Path(__file__).parents[3].parent / "shared" / "reference" / "mini" / "forward.npz"
CASES = {"c512": (32, 32), "c256": (16, 16), "c384x640": (24, 40), "c512x683": (32, 43), "c320x704": (20, 44)}

pytestmark = pytest.mark.skipif(not GOLDEN.is_file(), reason=f"golden arrays not found: {GOLDEN}")


@pytest.fixture(scope="module")
def golden() -> np.lib.npyio.NpzFile:
    return np.load(GOLDEN)


def on_grid(rows: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    return rows.T.reshape(-1, *grid)


@pytest.mark.parametrize("case", CASES)
def test_refinement(golden: np.lib.npyio.NpzFile, case: str) -> None:
    for logits, neighbours, expected in zip(
        golden[f"{case}/logits"], golden[f"{case}/knn_ind"], golden[f"{case}/prob"], strict=True
    ):
        found = refine(softmax(logits[:-1]), neighbours.astype(np.int32), k=3, rounds=25)
        np.testing.assert_allclose(found, expected[:-1], atol=2e-6)


@pytest.mark.parametrize("source", ["logits", "knn"])
@pytest.mark.parametrize("case", CASES)
def test_labels(golden: np.lib.npyio.NpzFile, case: str, source: str) -> None:
    scores = golden[f"{case}/{'logits' if source == 'logits' else 'prob'}"]
    expected = golden[f"{case}/label_{source}"]
    safe = np.unpackbits(golden[f"{case}/safe_{source}"])[: expected.size].reshape(expected.shape).astype(bool)
    for rows, labels, certain in zip(scores, expected, safe, strict=True):
        found = upsample_labels(on_grid(rows[:-1], CASES[case]), *labels.shape)
        np.testing.assert_array_equal(found[certain], labels[certain])
        assert (found != labels).sum() <= 3  # ties and near-ties outside the safe pixels
        assert certain.mean() > 0.5
