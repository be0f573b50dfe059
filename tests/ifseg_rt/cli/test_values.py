"""Sizes, batches and counts as people write them."""

from __future__ import annotations

import argparse

import pytest

from ifseg_rt.cli.values import natural, option, parse_batch, parse_size, positive
from ifseg_rt.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("512", (512, 512)),
        ("384x640", (384, 640)),
        (" 384 X 640 ", (384, 640)),
        ("32", (32, 32)),
        ("4096", (4096, 4096)),
    ],
)
def test_sizes(text: str, expected: tuple[int, int]) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "x", "384x", "x384", "384,640", "-64", "64x64x64", "31", "64x31", "64x4097"])
def test_impossible_sizes(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not a size|is outside 32\.\.4096"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", (None, 1)), (" 4 ", (None, 4)), ("1..4", (1, 4)), ("2..8", (2, 8)), ("3..3", (None, 3))],
)
def test_batches(text: str, expected: tuple[int | None, int]) -> None:
    assert parse_batch(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("two", "'two' is not a batch"),
        ("1-4", "'1-4' is not a batch"),
        ("1..", "is not a batch"),
        ("0", "at least 1, found 0"),
        ("0..4", "at least 1, found 0"),
        ("4..1", r"from the smallest to the largest, found 4\.\.1"),
    ],
)
def test_impossible_batches(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_batch(text)


def test_counts() -> None:
    assert (positive("1"), natural("0")) == (1, 0)
    for read, text in ((positive, "0"), (natural, "-1"), (positive, "1.5"), (natural, "")):
        with pytest.raises(argparse.ArgumentTypeError, match="whole number of at least"):
            read(text)


def test_as_an_option_the_error_is_one_of_argparse() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="the size 16x16 is outside"):
        option(parse_size)("16")
