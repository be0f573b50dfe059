"""The labels kernel equals the full evaluation in NumPy bit for bit: labels, winning value and painted picture."""

from __future__ import annotations

import numpy as np
import pytest

from ifseg_rt.drawing.overlay import blend, colorize
from ifseg_rt.kernels.launches import OverlayTarget, plan_labels
from ifseg_rt.upsampling.labels import upsample_labels


def axis(cells: int, pixels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The definition along one axis: lower and upper grid index and the float32 weight of the upper."""
    position = np.clip((np.arange(pixels) + 0.5) * (cells / pixels) - 0.5, 0, cells - 1)
    lower = position.astype(np.int64)
    return lower, np.minimum(lower + 1, cells - 1), (position - lower).astype(np.float32)


def definition(planes: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and winning values, every operation rounded to float32, all classes everywhere."""
    _, h, w = planes.shape
    y0, y1, wy = axis(h, height)
    x0, x1, wx = axis(w, width)
    one, wy = np.float32(1), wy[:, None]
    upper = planes[:, y0][:, :, x0] * (one - wx) + planes[:, y0][:, :, x1] * wx
    lower = planes[:, y1][:, :, x0] * (one - wx) + planes[:, y1][:, :, x1] * wx
    values = upper * (one - wy) + lower * wy
    assert values.dtype == np.float32
    return values.argmax(axis=0), values.max(axis=0)


def labelled(machine, planes, height: int, width: int, *, wide: bool = False, confidence: bool = True):
    classes, h, w = planes.shape
    kind = np.uint16 if wide else np.uint8
    source = machine.put(planes)
    labels = machine.put(np.full((height, width), 0xFF, dtype=kind))
    values = machine.put(np.full((height, width), np.nan, dtype=np.float32)) if confidence else 0
    machine.launch(
        plan_labels(source, classes, h, w, labels=labels, height=height, width=width, wide=wide, confidence=values)
    )
    found = machine.get(labels, (height, width), kind)
    return found, machine.get(values, (height, width), np.float32) if confidence else None


def check(machine, planes: np.ndarray, height: int, width: int) -> None:
    wide = planes.shape[0] > 255
    labels, values = definition(planes, height, width)
    found, confidence = labelled(machine, planes, height, width, wide=wide)
    np.testing.assert_array_equal(found, labels)
    np.testing.assert_array_equal(confidence, values)
    alone, _ = labelled(machine, planes, height, width, wide=wide, confidence=False)
    np.testing.assert_array_equal(alone, labels)
    machine.clear()


def probabilities(rng: np.random.Generator, classes: int, h: int, w: int, sharpness: float) -> np.ndarray:
    """Softmax of smooth noise: a few classes in each region, with borders between them."""
    coarse = rng.normal(0, sharpness, (classes, -(-h // 3) + 1, -(-w // 3) + 1))
    scores = coarse.repeat(3, axis=1).repeat(3, axis=2)[:, :h, :w] + rng.normal(0, 0.3, (classes, h, w))
    grown = np.exp(scores - scores.max(axis=0))
    return (grown / grown.sum(axis=0)).astype(np.float32)


@pytest.mark.parametrize("seed", range(24))
def test_random_shapes(machine, seed: int) -> None:
    rng = np.random.default_rng(seed)
    classes, h, w = int(rng.integers(1, 40)), int(rng.integers(1, 7)), int(rng.integers(1, 7))
    height, width = (int(value) for value in rng.integers(1, 60, 2))
    planes = probabilities(rng, classes, h, w, 3.0)
    if seed % 3 == 1:
        planes = rng.random((classes, h, w), dtype=np.float32)  # noise: nearly every class may win somewhere
    if seed % 3 == 2:
        planes = rng.normal(0, 4, (classes, h, w)).astype(np.float32)  # raw scores, negative ones too
    check(machine, planes, height, width)


@pytest.mark.parametrize(
    ("grid", "frame"),
    [
        ((1, 1), (1, 1)),
        ((1, 1), (37, 150)),  # one cell, several tiles
        ((1, 6), (20, 41)),
        ((6, 1), (41, 20)),
        ((4, 5), (4, 5)),  # no resizing at all
        ((9, 8), (4, 3)),  # the frame is smaller than the grid: most cells have no pixel
        ((2, 2), (3, 700)),  # cells wider than a tile
        ((2, 2), (300, 3)),  # cells taller than a tile
        ((3, 7), (45, 80)),
        ((32, 32), (33, 47)),
    ],
)
def test_odd_shapes(machine, grid, frame) -> None:
    rng = np.random.default_rng(sum(grid) + sum(frame))
    check(machine, probabilities(rng, 9, *grid, 2.0), *frame)


@pytest.mark.parametrize("seed", range(9))
def test_every_pixel_of_long_lines_belongs_to_one_cell(machine, seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    cells, pixels = int(rng.integers(1, 49)), int(rng.integers(1, 4097))
    if seed % 3 == 0:
        pixels = cells * int(rng.integers(1, 60))  # whole numbers of pixels per cell: positions on the grid points
    planes = rng.random((2, 1, cells), dtype=np.float32)
    shape = (1, pixels)
    if seed % 2:
        planes, shape = planes.transpose(0, 2, 1).copy(), (pixels, 1)
    check(machine, planes, *shape)


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_the_host_path(machine, seed: int) -> None:
    """One definition, two implementations: not a single label may differ."""
    rng = np.random.default_rng(200 + seed)
    planes = probabilities(rng, 12, 8, 10, 3.0)
    height, width = int(rng.integers(20, 120)), int(rng.integers(20, 120))
    found, _ = labelled(machine, planes, height, width)
    np.testing.assert_array_equal(found, upsample_labels(planes, height, width))


@pytest.mark.parametrize("classes", [1, 2, 128, 129, 150, 255, 256, 257, 1000])
def test_number_of_classes(machine, classes: int) -> None:
    rng = np.random.default_rng(classes)
    check(machine, probabilities(rng, classes, 4, 3, 6.0), 24, 19)
    check(machine, rng.random((classes, 3, 2), dtype=np.float32), 13, 11)  # above 256 candidates: all are compared


@pytest.mark.parametrize("levels", [1, 2, 3, 5])
def test_ties_go_to_the_first_class(machine, levels: int) -> None:
    rng = np.random.default_rng(levels)
    for classes in (2, 7, 40, 300):
        planes = (rng.integers(0, levels, (classes, 4, 4)) / np.float32(4)).astype(np.float32)
        check(machine, planes, 17, 22)


def test_one_class_a_rounding_error_above_another(machine) -> None:
    """Dominated by a hair: rounding can make both equal, and then the first must win."""
    rng = np.random.default_rng(1)
    for step in range(12):
        first = rng.random((4, 5), dtype=np.float32)
        second = first.copy()
        for _ in range(step):
            second = np.nextafter(second, np.float32(2))
        third = np.nextafter(second, np.float32(0))
        check(machine, np.stack([first, second, third]), 31, 37)


@pytest.mark.parametrize("scale", [1e-42, 1e-38, 1e-30, 1e30, 1e37])
def test_extreme_magnitudes(machine, scale: float) -> None:
    rng = np.random.default_rng(2)
    planes = (rng.random((6, 3, 4)) * scale).astype(np.float32)
    check(machine, planes, 14, 23)
    check(machine, planes - np.float32(scale / 2), 14, 23)


@pytest.mark.parametrize("seed", range(12))
def test_flat_classes_between_peaks(machine, seed: int) -> None:
    """A class that wins no grid point can win between them: the bound that leaves classes out must stay below it."""
    rng = np.random.default_rng(seed)
    h, w = 5, 6
    peaks = np.zeros((8, h, w), dtype=np.float32)
    np.put_along_axis(peaks, rng.integers(0, 8, (1, h, w)), rng.uniform(0.1, 1, (1, h, w)).astype(np.float32), axis=0)
    flat = np.repeat(rng.uniform(0.02, 0.6, (6, 1, 1)), h, axis=1).repeat(w, axis=2).astype(np.float32)
    flat = np.minimum(flat, peaks.max(axis=0) * np.float32(0.999))
    planes = rng.permutation(np.concatenate([peaks, flat]))
    check(machine, planes - np.float32(seed % 2), 46, 53)


def test_few_classes_are_compared(machine) -> None:
    """What makes the kernel fast: on smooth maps 1 to 4 of 150 classes stay, and one where one class rules."""
    if machine.name != "shim":
        pytest.skip("a device does not show how many classes it compares")
    rng = np.random.default_rng(4)
    planes = probabilities(rng, 150, 12, 12, 6.0)
    check(machine, planes, 60, 60)
    compared = machine.observed()
    assert compared.size == 144
    assert compared.mean() < 3
    assert (compared == 1).mean() > 0.3
    few = probabilities(rng, 5, 12, 12, 6.0)
    check(machine, few, 60, 60)
    assert machine.observed().mean() < 2
    check(machine, np.log(few) * 3, 60, 60)  # raw scores, negative ones too
    assert machine.observed().mean() < 2


def test_saturated_probabilities(machine) -> None:
    """Exactly 0 and 1: where two classes meet, all others are 0 at every corner and must not come first."""
    rng = np.random.default_rng(3)
    winners = rng.integers(20, 30, (5, 6))
    planes = (np.arange(40)[:, None, None] == winners).astype(np.float32)
    check(machine, planes, 43, 61)
    if machine.name == "shim":
        assert machine.observed().max() <= 4


@pytest.mark.parametrize(
    ("classes", "grid", "frame"), [(1, (3, 4), (17, 23)), (5, (6, 7), (41, 57)), (300, (4, 4), (33, 20))]
)
def test_confidence_from_other_values(machine, classes: int, grid: tuple[int, int], frame: tuple[int, int]) -> None:
    """Where labels come from logits, confidence is the probability of the label, up-sampled."""
    rng = np.random.default_rng(classes)
    logits = rng.normal(0, 3, (classes, *grid)).astype(np.float32)
    values = probabilities(rng, classes, *grid, 2.0)
    labels, _ = definition(logits, *frame)
    kind = np.uint16 if classes > 255 else np.uint8
    expected = np.empty(frame, dtype=np.float32)
    for index in range(classes):
        np.copyto(expected, definition(values[index : index + 1], *frame)[1], where=labels == index)
    found = machine.put(np.full(frame, 0xFF, dtype=kind))
    confidence = machine.put(np.full(frame, np.nan, dtype=np.float32))
    machine.launch(
        plan_labels(
            machine.put(logits),
            classes,
            *grid,
            labels=found,
            height=frame[0],
            width=frame[1],
            wide=classes > 255,
            confidence=confidence,
            values=machine.put(values),
        )
    )
    np.testing.assert_array_equal(machine.get(found, frame, kind), labels)
    np.testing.assert_array_equal(machine.get(confidence, frame, np.float32), expected)
    machine.clear()


@pytest.mark.parametrize(
    ("classes", "alpha", "pads", "in_place"),
    [(3, 0.5, (0, 0), True), (3, 0.5, (0, 0), False), (12, 0.45, (5, 9), False), (300, 0.3, (1, 1), True)],
)
def test_overlay_equals_the_hosts(machine, classes: int, alpha: float, pads: tuple[int, int], in_place: bool) -> None:
    rng = np.random.default_rng(classes)
    planes = probabilities(rng, classes, 4, 5, 3.0)
    height, width = 41, 57
    frame = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    palette = rng.integers(0, 256, (classes, 3), dtype=np.uint8)
    labels, _ = definition(planes, height, width)
    wide = classes > 255
    kind = np.uint16 if wide else np.uint8
    colours = [tuple(int(level) for level in row) for row in palette]
    expected = blend(frame, colorize(labels.astype(kind), colours, "rgb"), alpha)

    rows = np.full((height, 3 * width + pads[0]), 0x11, dtype=np.uint8)
    rows[:, : 3 * width] = frame.reshape(height, -1)
    painted = np.full((height, 3 * width + pads[1]), 0x11, dtype=np.uint8)
    source, found = machine.put(rows), machine.put(np.zeros((height, width), dtype=kind))
    picture = source if in_place else machine.put(painted)
    overlay = OverlayTarget(
        frame=source,
        frame_pitch=rows.shape[1],
        picture=picture,
        picture_pitch=painted.shape[1],
        palette=machine.put(palette),
        alpha=alpha,
    )
    machine.launch(
        plan_labels(
            machine.put(planes),
            classes,
            4,
            5,
            labels=found,
            height=height,
            width=width,
            wide=wide,
            overlay=overlay,
        )
    )
    result = machine.get(picture, painted.shape, np.uint8)
    np.testing.assert_array_equal(machine.get(found, (height, width), kind), labels)
    np.testing.assert_array_equal(result[:, : 3 * width].reshape(height, width, 3), expected)
    assert (result[:, 3 * width :] == 0x11).all()


def test_every_pair_of_levels_blends_like_the_host(machine) -> None:
    """256 classes side by side, each painted over all 256 levels of the frame."""
    planes = np.eye(256, dtype=np.float32).reshape(256, 1, 256)
    frame = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 256, axis=1).repeat(3, axis=2)
    palette = np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1)
    for alpha in (0.0, 0.3, 0.45, 1.0):
        picture = machine.put(np.zeros_like(frame))
        overlay = OverlayTarget(machine.put(frame), 768, picture, 768, machine.put(palette), alpha)
        labels = machine.put(np.zeros((256, 256), dtype=np.uint8))
        machine.launch(
            plan_labels(
                machine.put(planes),
                256,
                1,
                256,
                labels=labels,
                height=256,
                width=256,
                wide=False,
                overlay=overlay,
            )
        )
        painted = palette[None].repeat(256, axis=0)
        np.testing.assert_array_equal(machine.get(picture, frame.shape, np.uint8), blend(frame, painted, alpha))
