"""Arguments that nobody can mean: one line that says so, or what was asked for."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.faults.making.tiny_model import write_model
from tests.hostile.models import FRAME, Case
from tests.hostile.watch import WILD, judged


class _Rude:
    """An object whose every answer is an error."""

    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__


_WILD: tuple[Any, ...] = (
    *WILD,
    b"model.onnx",
    "35",
    "2",
    (2.7, 3.9),
    (float("inf"), 1),
    (3, 10**9),
    (True, 3),
    (3, 25, 1),
    ("3", "25"),
    np.zeros(3),
    np.zeros((2, 2)),
    np.array(["bgr"]),
    np.float32(0.5),
    np.int64(2),
    Path(),
    Path("a\0b"),
    Path("x" * 300),
    object,
    _Rude(),
    complex(1, 1),
    {"a", "b"},
)
_ARGUMENTS = (
    "path",
    "refine",
    "device",
    "threads",
    "color",
    "rebuild",
    "cuda_graph",
    "time_stages",
    "confidence",
    "overlay",
    "allow_host_code",
)


class _Matrix(np.ndarray[Any, Any]):
    pass


def _frames() -> tuple[Any, ...]:
    masked = np.ma.masked_array(FRAME, FRAME > 100)
    return (
        *_WILD,
        masked,
        FRAME.astype(object),
        FRAME.view(_Matrix),
        FRAME.astype(">f4"),
        FRAME.astype(bool),
        FRAME.astype("S3"),
        np.zeros((2, 3), dtype=[("r", "u1")]),
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((5, 5, 2), np.uint8),
        FRAME[::-1, ::-2],
        np.asfortranarray(FRAME),
        np.lib.stride_tricks.as_strided(FRAME, (4, 4, 3), (0, 0, 1)),
        memoryview(FRAME.tobytes()),
        FRAME.tolist(),
    )


def cases(seed: int, count: int) -> Iterator[Case]:
    """``count`` misuses by that seed."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_model(Path(folder))
        for number in range(count):
            dice = random.Random(f"{seed}/{number}")
            kind: Callable[..., str | None] = dice.choice((_opened, _opened, _called))
            yield f"{kind.__name__[1:]} {number}", partial(judged, partial(kind, dice, path))


def _opened(dice: random.Random, path: Path) -> str | None:
    from ifseg_rt import Segmenter

    arguments: dict[str, Any] = {"path": path, "device": "cpu", "threads": 1}
    for name in dice.sample(_ARGUMENTS, dice.choice((1, 1, 2))):
        arguments[name] = dice.choice(_WILD)
    with Segmenter(arguments.pop("path"), **arguments) as segmenter:
        segmenter(FRAME)
    return None


def _called(dice: random.Random, path: Path) -> str | None:
    from ifseg_rt import Segmenter

    with Segmenter(path, device="cpu", threads=1) as segmenter:
        frame, color = dice.choice(_frames()), dice.choice((None, None, "rgb", *_WILD))
        result = segmenter(frame, color)
    return None if type(result.labels) is np.ndarray else f"labels are a {type(result.labels).__name__}"
