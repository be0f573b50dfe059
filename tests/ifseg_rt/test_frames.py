"""Frames of every kind are taken as what they are, or refused in one line."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from ifseg_rt import Segmenter
from ifseg_rt.errors import SourceError, UsageError
from ifseg_rt.frames import as_color_frame
from ifseg_rt.host.preprocess import Preprocessor


@pytest.fixture(scope="module")
def segmenter(model_path: Path) -> Any:
    with Segmenter(model_path, threads=1) as opened:
        yield opened


def centre_names(result: Any) -> list[str]:
    row = result.labels[result.labels.shape[0] // 2]
    return [result.categories[row[int(len(row) * position)]] for position in (1 / 6, 1 / 2, 5 / 6)]


THREE = ["red", "green", "blue thing"]


def test_bgr_by_default_and_rgb_on_request(segmenter: Segmenter, scene: np.ndarray) -> None:
    assert centre_names(segmenter(scene)) == THREE
    assert centre_names(segmenter(scene[:, :, ::-1], color="rgb")) == THREE
    assert centre_names(segmenter(scene, color="rgb")) == THREE[::-1]


def test_alpha_strides_and_pil(segmenter: Segmenter, scene: np.ndarray) -> None:
    with_alpha = np.dstack([scene, np.zeros(scene.shape[:2], dtype=np.uint8)])
    rgb = np.ascontiguousarray(scene[:, :, ::-1])
    planar = np.ascontiguousarray(scene.transpose(2, 0, 1)).transpose(1, 2, 0)
    twice = np.repeat(np.repeat(scene, 2, axis=0), 2, axis=1)
    for frame in (with_alpha, planar, np.asfortranarray(scene), twice[::2, ::2], Image.fromarray(rgb)):
        assert centre_names(segmenter(frame)) == THREE
    assert centre_names(segmenter(scene[:, ::-1])) == THREE[::-1]
    assert centre_names(segmenter(Image.fromarray(rgb).convert("RGBA"))) == THREE
    assert centre_names(segmenter(Image.fromarray(rgb).quantize(8))) == THREE


def test_grey(segmenter: Segmenter) -> None:
    grey = np.zeros((50, 40), dtype=np.uint8)
    for frame in (grey, grey[:, :, None], Image.fromarray(grey)):
        result = segmenter(frame)
        assert result.shares["dark"] == 1.0
        assert result.overlay(frame).shape == (50, 40, 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (3, 2), (64, 96), (777, 1301)])
def test_any_size(segmenter: Segmenter, size: tuple[int, int]) -> None:
    frame = np.full((*size, 3), (0, 0, 255), dtype=np.uint8)
    result = segmenter(frame)
    assert result.labels.shape == size
    assert result.labels.dtype == np.uint8
    assert result.shares["red"] == 1.0
    assert result.overlay(frame, legend=True).shape == (*size, 3)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (None, "the frame is None"),
        ("road.jpg", r"found builtins\.str"),
        ([[1, 2], [3, 4]], r"found builtins\.list"),
        (np.zeros((4, 4, 3)), "must be uint8 with values 0..255, found float64"),
        (np.zeros((4, 4, 3), np.uint16), "found uint16"),
        (np.zeros((4, 4), bool), "found bool"),
        (np.zeros((0, 4, 3), np.uint8), "the frame is empty"),
        (np.zeros((4, 0), np.uint8), "the frame is empty"),
        (np.zeros((4, 4, 2), np.uint8), r"found \(4, 4, 2\)"),
        (np.zeros((3, 40, 50), np.uint8), r"found \(3, 40, 50\)"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"found \(1, 4, 4, 3\)"),
        (np.zeros(5, np.uint8), r"found \(5,\)"),
        (np.uint8(3), "found numpy.uint8"),
        (Image.fromarray(np.zeros((4, 4), np.uint16)), "more than 8 bits"),
        (Image.new("RGB", (0, 5)), "the frame is empty"),
    ],
)
def test_refused(segmenter: Segmenter, frame: Any, reason: str) -> None:
    with pytest.raises(SourceError, match=reason) as caught:
        segmenter(frame)
    assert "\n" not in str(caught.value)


def test_unknown_colour_order(segmenter: Segmenter, scene: np.ndarray) -> None:
    with pytest.raises(UsageError, match="color must be"):
        segmenter(scene, color="yuv")


def test_a_plain_frame_is_not_copied(scene: np.ndarray) -> None:
    frame, order = as_color_frame(scene, "bgr")
    assert frame is scene or np.shares_memory(frame, scene)
    assert order == "bgr"


def test_normalisation_is_exact(segmenter: Segmenter) -> None:
    spec = segmenter.artifact.preprocess
    frame = np.random.default_rng(0).integers(0, 256, (spec.height, spec.width, 3), dtype=np.uint8)
    mean, std = np.float32(spec.mean), np.float32(spec.std)
    expected = ((frame.astype(np.float32) / np.float32(255) - mean) / std).transpose(2, 0, 1)[None]
    preprocess = Preprocessor(spec)
    np.testing.assert_array_equal(preprocess(frame, "rgb"), expected)
    np.testing.assert_array_equal(preprocess(np.ascontiguousarray(frame[:, :, ::-1]), "bgr"), expected)
    assert preprocess(frame, "rgb") is preprocess(frame, "rgb")


@pytest.mark.parametrize("orientation", range(10))
def test_pil_pictures_of_turned_cameras_are_set_upright(orientation: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 3), dtype=np.uint8)
    content, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(content, "PNG", exif=exif)
    frame, order = as_color_frame(Image.open(content), "bgr")
    expected = np.asarray(ImageOps.exif_transpose(Image.open(content)))
    np.testing.assert_array_equal(frame, expected)
    assert (order, frame.flags.c_contiguous) == ("rgb", True)


def test_pil_pictures_that_cannot_be_read() -> None:
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (99, 99, 3), dtype=np.uint8)).save(content, "JPEG")
    cut_off = Image.open(io.BytesIO(content.getvalue()[:3000]))
    closed = Image.open(content)
    closed.close()
    for picture in (closed, cut_off):
        with pytest.raises(SourceError, match="cannot be read"):
            as_color_frame(picture, "bgr")
