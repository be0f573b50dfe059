"""Artificial images: the golden grids, and the distribution and geometry of our own (spec 11.1)."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train.adaptation.artificial import GRID_SIDE, TARGET_SIDE, draw_grids, nearest_indices, resize_grid


@pytest.mark.parametrize("sample", [0, 1])
def test_golden_grids(golden, sample):
    arrays = np.load(golden / "train.npz")
    categories = len(json.loads((golden / "train_meta.json").read_text(encoding="utf-8"))["categories"])
    seed = int(arrays[f"s{sample}/seed"])
    height, width = torch.randint(1, 33, (2,), generator=torch.Generator().manual_seed(seed)).tolist()
    cells = np.random.RandomState(seed).choice(categories, height * width).reshape(height, width)
    assert np.array_equal(cells, arrays[f"s{sample}/grid"])
    grid = torch.from_numpy(cells)
    assert np.array_equal(resize_grid(grid, GRID_SIDE), arrays[f"s{sample}/ids32"])
    assert np.array_equal(resize_grid(grid, TARGET_SIDE), arrays[f"s{sample}/target512"])


@given(st.integers(1, 32), st.sampled_from([32, 512]))
def test_nearest_is_the_floor(source, target):
    assert nearest_indices(source, target)[0].tolist() == [o * source // target for o in range(target)]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 20), st.integers(1, 4))
def test_input_and_target_are_the_same_grid(seed, categories, batch):
    maps, target = draw_grids(batch, categories, torch.Generator().manual_seed(seed))
    assert maps.shape == (batch, 32, 32) and target.shape == (batch, 512, 512)
    assert int(maps.min()) >= 0 and int(maps.max()) < categories
    # Cell o of 32 and pixel 16 * o of 512 read the same source: floor(o * s / 32) = floor(16 * o * s / 512).
    assert torch.equal(target[:, ::16, ::16], maps)


def test_sizes_and_categories_are_uniform():
    generator = torch.Generator().manual_seed(0)
    maps = torch.cat([draw_grids(50, 20, generator)[0] for _ in range(12)])  # a target takes 2 MB
    shares = torch.bincount(maps.flatten(), minlength=20) / maps.numel()
    assert shares.tolist() == pytest.approx([0.05] * 20, abs=0.01)
    for axis in (1, 2):
        # Neighbouring rows (or columns) of one cell are equal, of two cells only by chance.
        sizes = (maps.diff(dim=axis) != 0).any(dim=3 - axis).sum(dim=1) + 1
        assert set(sizes.tolist()) == set(range(1, 33))
        assert sizes.float().mean().item() == pytest.approx(16.5, abs=1)
