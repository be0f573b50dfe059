"""The pre-processing kernel equals OpenCV and the host's Preprocessor bit for bit, for any size, pitch and order."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ifseg_rt.artifact.sidecar import Preprocess
from ifseg_rt.host.preprocess import Preprocessor
from ifseg_rt.kernels.launches import plan_preprocess

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def on_host(frame: np.ndarray, height: int, width: int, swap: bool) -> np.ndarray:
    spec = Preprocess(
        height=height, width=width, color="rgb", resize="stretch", interpolation="bilinear", mean=MEAN, std=STD
    )
    return Preprocessor(spec)(np.ascontiguousarray(frame), "bgr" if swap else "rgb")[0].copy()


def on_machine(machine, frame, height, width, swap=False, half=False, pad=0, mean=MEAN, std=STD) -> np.ndarray:
    rows = np.full((frame.shape[0], 3 * frame.shape[1] + pad), 0xEE, dtype=np.uint8)
    rows[:, : 3 * frame.shape[1]] = frame.reshape(frame.shape[0], -1)
    source = machine.put(rows)
    kind = np.float16 if half else np.float32
    out = machine.put(np.full((3, height, width), np.nan, dtype=kind))
    machine.launch(
        plan_preprocess(
            source,
            frame.shape[0],
            frame.shape[1],
            rows.shape[1],
            swap=swap,
            out=out,
            out_height=height,
            out_width=width,
            mean=mean,
            std=std,
            half=half,
        )
    )
    result = machine.get(out, (3, height, width), kind)
    machine.clear()
    return result


def noise(seed: int, height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    frame = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return np.where(frame > 127, 255, 0).astype(np.uint8) if seed % 5 == 0 else frame  # full range: largest sums


@pytest.mark.parametrize("seed", range(40))
def test_equals_the_host_for_random_sizes(machine, seed: int) -> None:
    rng = np.random.default_rng(1000 + seed)
    height, width, out_height, out_width = (int(value) for value in rng.integers(1, 100, 4))
    frame = noise(seed, height, width)
    swap, pad = bool(seed % 2), int(rng.integers(0, 40))
    expected = on_host(frame, out_height, out_width, swap)
    np.testing.assert_array_equal(on_machine(machine, frame, out_height, out_width, swap, pad=pad), expected)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ((64, 80), (64, 80)),  # copied
        ((64, 80), (32, 40)),  # exactly half: the mean of 2 x 2
        ((64, 80), (32, 80)),  # half in one direction only: bilinear
        ((64, 80), (64, 40)),
        ((96, 120), (32, 40)),  # a third
        ((128, 160), (32, 40)),
        ((32, 40), (64, 80)),  # doubled
        ((1, 1), (5, 7)),
        ((1, 50), (9, 3)),
        ((50, 1), (3, 9)),
        ((2, 2), (1, 1)),
        ((270, 480), (128, 128)),  # 1080p to 512 x 512, a quarter of it
    ],
)
def test_equals_the_host_where_opencv_changes_its_rule(machine, source, target) -> None:
    frame = noise(7, *source)
    np.testing.assert_array_equal(on_machine(machine, frame, *target), on_host(frame, *target, swap=False))


def test_the_resized_picture_is_opencvs_without_its_accelerations_too(machine) -> None:
    """With mean 0 and std 1/255 the network's input is the resized picture itself."""
    frame = noise(3, 75, 101)
    raw = on_machine(machine, frame, 53, 47, mean=(0.0,) * 3, std=(1.0,) * 3)
    levels = np.rint(raw * 255).astype(np.uint8).transpose(1, 2, 0)
    accelerated = cv2.useOptimized()
    try:
        for optimised in (True, False):
            cv2.setUseOptimized(optimised)
            np.testing.assert_array_equal(levels, cv2.resize(frame, (47, 53), interpolation=cv2.INTER_LINEAR))
    finally:
        cv2.setUseOptimized(accelerated)


@pytest.mark.parametrize("seed", range(6))
def test_half_precision_is_the_nearest_half(machine, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Deviations over many magnitudes reach subnormal halves, infinities and everything between.
    mean = tuple(float(value) for value in rng.uniform(-1, 1, 3))
    std = tuple(float(value) for value in 10.0 ** rng.uniform(-7, 7, 3))
    frame = noise(seed + 1, 24, 33)
    full = on_machine(machine, frame, 24, 33, mean=mean, std=std)
    half = on_machine(machine, frame, 24, 33, half=True, mean=mean, std=std)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(half.view(np.uint16), full.astype(np.float16).view(np.uint16))


def test_half_precision_at_every_boundary(machine) -> None:
    """Values exactly on, between and beside neighbouring halves, made by choosing mean and std per value."""
    halves = np.arange(0, 0x7C00, 97, dtype=np.uint16).view(np.float16).astype(np.float64)
    above = np.nextafter(halves.astype(np.float16), np.float16(np.inf)).astype(np.float64)
    middle = ((halves + np.where(np.isfinite(above), above, 65536.0)) / 2).astype(np.float32)
    wanted = np.concatenate([middle, np.nextafter(middle, np.float32(0)), np.nextafter(middle, np.float32(np.inf))])
    frame = np.zeros((1, 1, 3), dtype=np.uint8)
    for start in range(0, wanted.size - 2, 30):
        three = tuple(float(value) for value in wanted[start : start + 3])  # 0 - (-value), over 1
        full = on_machine(machine, frame, 1, 1, mean=tuple(-value for value in three), std=(1.0,) * 3)
        half = on_machine(machine, frame, 1, 1, mean=tuple(-value for value in three), std=(1.0,) * 3, half=True)
        np.testing.assert_array_equal(full.reshape(-1), np.float32(three))
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(half.view(np.uint16), full.astype(np.float16).view(np.uint16))
