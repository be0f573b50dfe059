"""Frames that already are on the GPU: which objects count, and what their memory must look like to be read in place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ifseg_rt.errors import SourceError, UsageError

_CUDA, _CUDA_MANAGED = 2, 13  # DLDeviceType


@dataclass(frozen=True)
class DeviceView:
    """Memory of an array on a GPU, as its owner describes it.

    Attributes:
        address: of the first element.
        shape: lengths of the axes.
        strides: distances in elements, ``None`` for contiguous.
        dtype: of the elements, ``None`` where NumPy has no such type.
        device: ordinal of the GPU.
        owner: keeps the memory alive.
    """

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    dtype: np.dtype[Any] | None
    device: int
    owner: Any = None


@dataclass(frozen=True)
class DeviceFrame:
    """A frame that a kernel can read in place: H x W x 3 uint8, pixels side by side, rows ``pitch`` bytes apart."""

    address: int
    height: int
    width: int
    pitch: int
    owner: Any = None


def is_on_device(frame: Any) -> bool:  # noqa: ANN401
    """Whether ``frame`` offers memory on an NVIDIA GPU (``__cuda_array_interface__`` or DLPack)."""
    if isinstance(frame, np.ndarray):
        return False
    try:
        if hasattr(frame, "__cuda_array_interface__"):
            return True
    except Exception:  # it is there, but refuses, as for a tensor with a gradient; reading it will say why
        return True
    ask = getattr(frame, "__dlpack_device__", None)
    if ask is None:
        return False
    try:
        kind = int(ask()[0])
    except (BufferError, RuntimeError, TypeError, ValueError):
        return False
    return kind in (_CUDA, _CUDA_MANAGED)


def read_in_place(frame: Any, view: Callable[[Any], DeviceView], *, device: int) -> DeviceFrame:  # noqa: ANN401
    """Where a frame on the GPU lies.

    Args:
        frame: what :func:`is_on_device` said yes to.
        view: asks its owner for the memory.
        device: ordinal of the GPU that shall read it.

    Raises:
        SourceError: its owner refuses, or it is no frame on that GPU.
    """
    try:
        found = view(frame)
    except Exception as error:  # whatever the frame's library raises about its own memory
        kind = f"{type(frame).__module__}.{type(frame).__qualname__}"
        raise SourceError(f"the memory of this {kind} on the GPU cannot be read: {error}") from error
    return frame_of(found, device=device)


def frame_of(view: DeviceView, *, device: int) -> DeviceFrame:
    """Check that a view is a frame on the right GPU.

    Args:
        view: the memory.
        device: ordinal of the GPU that shall read it.

    Raises:
        SourceError: it is not; says what was expected and what was found.
    """
    shape = view.shape
    if len(shape) != 3 or shape[2] != 3:
        planar = len(shape) == 3 and shape[0] == 3
        hint = "the channels come last, on a GPU too: frame.permute(1, 2, 0).contiguous()" if planar else None
        raise SourceError(f"a frame on the GPU must have shape H x W x 3, found {shape}", hint=hint)
    height, width, _ = shape
    if height < 1 or width < 1:
        raise SourceError(f"the frame is empty: it has shape {shape}")
    if view.dtype != np.dtype(np.uint8):
        raise SourceError(f"a frame must be uint8 with values 0..255, found {view.dtype}")
    if view.device != device:
        raise SourceError(f"the frame is on GPU {view.device}, the model on GPU {device}; expected the same")
    if view.address == 0:
        raise SourceError("the frame on the GPU has no memory: its address is 0")
    return DeviceFrame(view.address, height, width, _pitch(shape, view.strides), view.owner)


def _pitch(shape: Sequence[int], strides: Sequence[int] | None) -> int:
    height, width, channels = shape
    row = width * channels
    if strides is None:
        return row
    # The stride of an axis of length 1 is never used, and libraries fill in anything.
    pixels_side_by_side = strides[2] == 1 and (width == 1 or strides[1] == channels)
    pitch = row if height == 1 else strides[0]
    if not pixels_side_by_side or pitch < row:
        raise SourceError(
            f"the pixels of a frame on the GPU must lie side by side in rows that do not overlap, "
            f"found strides {tuple(strides)} for shape {tuple(shape)}",
            hint="copy it first: frame.contiguous()",
        )
    return pitch


def stream_address(stream: Any) -> int | None:  # noqa: ANN401
    """The address of a CUDA stream in any of its usual guises.

    Args:
        stream: ``None``; an address; an object with ``__cuda_stream__``; or one with ``cuda_stream`` (PyTorch) or
            ``ptr`` (CuPy). Address 0 is the legacy default stream.

    Raises:
        UsageError: it is none of these.
    """
    if stream is None:
        return None
    if hasattr(stream, "__cuda_stream__"):
        pair = stream.__cuda_stream__ if not callable(stream.__cuda_stream__) else stream.__cuda_stream__()
        address = pair[1]
    else:
        address = getattr(stream, "cuda_stream", getattr(stream, "ptr", stream))
    if isinstance(address, bool) or not isinstance(address, int) or address < 0:
        raise UsageError(f"stream must be a CUDA stream or its address, found {stream!r}")
    return address
