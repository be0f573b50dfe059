"""Launch plans: arguments fit the kernels' parameters, and sizes stay within what the kernels hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifseg_rt.errors import DeviceError, UsageError
from ifseg_rt.kernels.compile import SOURCES
from ifseg_rt.kernels.launches import (
    Launch,
    OverlayTarget,
    plan_finite,
    plan_labels,
    plan_preprocess,
    plan_refine,
    plan_softmax,
    plan_transpose,
    tiles,
)

ADDRESS = 0x7F00_1234_5678


def every_plan() -> list[Launch]:
    overlay = OverlayTarget(ADDRESS, 5760, ADDRESS + 1, 5760, ADDRESS + 2, 0.5)
    sizes = [(1000, 3), (2000, 3), (4000, 3), (6000, 8), (9216, 3), (9216, 8)]
    return [
        plan_preprocess(
            ADDRESS,
            1080,
            1920,
            5760,
            swap=True,
            out=ADDRESS,
            out_height=512,
            out_width=512,
            mean=(0.5,) * 3,
            std=(0.5,) * 3,
            half=True,
        ),
        plan_softmax(ADDRESS, 1024, 150, planes=ADDRESS),
        *(plan_refine(ADDRESS, ADDRESS, n, 150, 8, k, 25, out=ADDRESS) for n, k in sizes),
        plan_labels(ADDRESS, 150, 32, 32, labels=ADDRESS, height=1080, width=1920, wide=False),
        *(
            plan_labels(
                ADDRESS,
                150,
                32,
                32,
                labels=ADDRESS,
                height=1080,
                width=1920,
                wide=True,
                confidence=1,
                values=values,
                overlay=overlay,
            )
            for values in (0, ADDRESS)
        ),
        plan_finite(ADDRESS, 1024 * 150, flags=ADDRESS, blocks=64),
        plan_transpose(ADDRESS, 1024, 150, planes=ADDRESS),
    ]


def test_every_source_and_kernel_is_listed(kernel_signatures) -> None:
    assert {source: tuple(found) for source, found in kernel_signatures.items()} == SOURCES


def test_arguments_fit_the_parameters(kernel_signatures, check_arguments) -> None:
    types = {name: kinds for found in kernel_signatures.values() for name, kinds in found.items()}
    launched = every_plan()
    for launch in launched:
        check_arguments(types[launch.kernel], launch.arguments)
    assert {launch.kernel for launch in launched} == set(types)


def test_cuda_core_passes_the_bytes_the_kernels_expect(check_arguments) -> None:
    """Eight bytes for an address, and for a NumPy scalar its own width: read back from the list cuda.core makes."""
    handler = pytest.importorskip("cuda.core._kernel_arg_handler", reason="cuda.core is not installed")
    import ctypes

    for launch in every_plan():
        holder = handler.ParamHolder(launch.arguments)
        pointers = (ctypes.c_void_p * len(launch.arguments)).from_address(holder.ptr)
        for pointer, argument in zip(pointers, launch.arguments, strict=True):
            expected = argument.to_bytes(8, "little") if type(argument) is int else argument.tobytes()
            assert ctypes.string_at(pointer, len(expected)) == expected


def test_cuda_core_takes_the_configurations() -> None:
    core = pytest.importorskip("cuda.core", reason="cuda.core is not installed")
    for launch in every_plan():
        config = core.LaunchConfig(grid=launch.grid, block=launch.block, shmem_size=launch.shared)
        assert (config.grid, config.block, config.shmem_size) == (launch.grid, launch.block, launch.shared)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 16384), st.integers(1, 12), st.sampled_from([48, 64, 99, 227]))
def test_refinement_fits_the_block(n: int, k: int, kilobytes: int) -> None:
    if 4 * n > kilobytes * 1024:
        with pytest.raises(DeviceError, match="patches on this device"):
            plan_refine(0, 0, n, 3, 12, k, 25, out=0, shared_limit=kilobytes * 1024)
        return
    launch = plan_refine(0, 0, n, 3, 12, k, 25, out=0, shared_limit=kilobytes * 1024)
    kind = launch.kernel.removeprefix("refine_")
    patches = 16 if kind == "any" else int(kind)
    assert launch.block[0] <= 1024
    assert launch.block[0] % 32 == 0
    assert launch.block[0] * patches >= n
    doubled = bool(launch.arguments[-2])
    assert launch.shared == (8 if doubled else 4) * n
    assert launch.shared <= kilobytes * 1024
    if kind != "any":
        assert k <= (4 if kind == "12" else 8)
        assert n <= 65536  # indices are kept in 16 bits


def largest_cell(cells: int, pixels: int) -> int:
    positions = np.clip((np.arange(pixels) + 0.5) * (cells / pixels) - 0.5, 0, cells - 1)
    return int(np.bincount(positions.astype(int)).max())


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 64), st.integers(1, 64), st.integers(1, 4320), st.integers(1, 7680))
def test_tiles_fit_the_kernel(grid_h: int, grid_w: int, height: int, width: int) -> None:
    tiles_y, tiles_x = tiles(grid_h, grid_w, height, width)
    assert -(-largest_cell(grid_h, height) // tiles_y) <= 64
    assert -(-largest_cell(grid_w, width) // tiles_x) <= 128
    assert grid_h * tiles_y < 65536


def test_a_usual_frame_needs_no_tiles_and_a_coarse_grid_gets_some() -> None:
    assert tiles(32, 32, 1080, 1920) == (1, 1)
    assert tiles(32, 32, 512, 512) == (1, 1)
    tiles_y, tiles_x = tiles(8, 12, 1080, 1920)
    assert 8 * 12 * tiles_y * tiles_x >= 1024


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pitch_bytes": 29}, "pitch_bytes must be at least 30 for 10 pixels; found 29"),
        ({"height": 0}, "sizes must be at least 1"),
        ({"mean": (0.5,)}, "mean and std must be three values each"),
    ],
)
def test_preprocessing_refuses_what_cannot_be_meant(change: dict, message: str) -> None:
    sizes = {"frame": 0, "height": 8, "width": 10, "pitch_bytes": 30}
    rest = {"swap": False, "out": 0, "out_height": 4, "out_width": 4, "mean": (0.0,) * 3, "std": (1.0,) * 3}
    with pytest.raises(UsageError, match=message):
        plan_preprocess(**{**sizes, **rest, "half": False, **change})


def test_labels_refuse_more_classes_than_they_can_number() -> None:
    with pytest.raises(UsageError, match="classes must be 1 to 256, or to 65536 with wide labels; found 257"):
        plan_labels(0, 257, 4, 4, labels=0, height=8, width=8, wide=False)


def test_values_of_labels_need_a_place_for_confidence() -> None:
    with pytest.raises(UsageError, match="values must be 0 without confidence; found 4096"):
        plan_labels(0, 4, 4, 4, labels=0, height=8, width=8, wide=False, values=4096)
