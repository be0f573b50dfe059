"""What travels from the readers through the labelling to whoever writes: frames, and what happened between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ifseg_rt.errors import IfsegError
    from ifseg_rt.result import Result
    from ifseg_rt.sources.base import Event, Frame, Source


@dataclass(frozen=True)
class Opened:
    """A source begins."""

    source: Source


@dataclass(frozen=True)
class Taken:
    """A frame was read in ``read_ms`` milliseconds."""

    source: Source
    frame: Frame
    read_ms: float


@dataclass(frozen=True)
class Happened:
    """Something happened to a source."""

    source: Source
    event: Event


@dataclass(frozen=True)
class Labelled:
    """A frame with its labels.

    Attributes:
        source: where it comes from.
        frame: the picture, its number and its times.
        result: labels and probabilities.
        latency_ms: from capture to labels, waiting included.
        read_ms: time spent reading it.
        dropped: frames of a live source that arrived and were never labelled, so far, by cause: ``slow`` (a newer one
            came first), ``stale`` (older than allowed), ``corrupt``.
    """

    source: Source
    frame: Frame
    result: Result
    latency_ms: float
    read_ms: float
    dropped: Mapping[str, int]


@dataclass(frozen=True)
class Closed:
    """A source is done; ``error`` says why it is not complete."""

    source: Source
    error: IfsegError | None = None


FromReader = Opened | Taken | Happened | Closed
FromStream = Opened | Labelled | Happened | Closed
