"""Artificial images: random grids of category names instead of pictures (spec 11.1)."""

from __future__ import annotations

import torch
from torch import Tensor

GRID_SIDE = 32
TARGET_SIDE = 512
LARGEST_GRID = 32


def nearest_indices(source: Tensor | int, target: int, device: torch.device | None = None) -> Tensor:
    """``floor(o * source / target)`` for every output index: ``[B]`` sizes (or one) -> int64 ``[B, target]``."""
    sizes = torch.as_tensor(source, device=device).reshape(-1, 1)
    return torch.arange(target, device=sizes.device) * sizes // target


def resize_grid(grid: Tensor, side: int) -> Tensor:
    """Nearest resize of one grid ``[h, w]`` to ``[side, side]``."""
    rows = nearest_indices(grid.shape[0], side, grid.device)[0]
    columns = nearest_indices(grid.shape[1], side, grid.device)[0]
    return grid[rows][:, columns]


def draw_grids(batch: int, categories: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Category maps of artificial images and their targets, the whole batch at once.

    Height and width of each grid are uniform in 1..32, every cell uniform in 0..C-1. Both outputs are nearest
    resizes of the same grid. Drawing a full 32 x 32 grid and reading its top left corner is the same distribution.

    Args:
        batch: number of images B.
        categories: number of categories C.
        generator: source of randomness; its device is where the maps are made.

    Returns:
        int64 ``[B, 32, 32]`` (input) and int64 ``[B, 512, 512]`` (target), on the generator's device.
    """
    device = generator.device
    sizes = torch.randint(1, LARGEST_GRID + 1, (2, batch), generator=generator, device=device)
    cells = torch.randint(0, categories, (batch, LARGEST_GRID, LARGEST_GRID), generator=generator, device=device)
    image = torch.arange(batch, device=device)[:, None, None]

    def resized(side: int) -> Tensor:
        rows, columns = (nearest_indices(size, side) for size in sizes)
        return cells[image, rows[:, :, None], columns[:, None, :]]

    return resized(GRID_SIDE), resized(TARGET_SIDE)
