"""Pieces of memory, on the GPU and page-locked on the host, and arrays over them."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np

ALIGNMENT = 256  # bytes; what cuMemAlloc guarantees, TensorRT expects of tensors and vector loads profit from


@dataclass(frozen=True)
class Region:
    """A piece of one allocation: an array of ``shape`` and ``dtype`` at ``offset`` bytes."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    @property
    def size(self) -> int:
        """Bytes of the array itself."""
        return prod(self.shape) * self.dtype.itemsize

    @property
    def end(self) -> int:
        """First aligned offset behind it."""
        return -(-(self.offset + self.size) // ALIGNMENT) * ALIGNMENT


class HostMemory(Protocol):
    """A piece of memory; freed when the object is gone."""

    @property
    def address(self) -> int:
        """Where it begins."""

    @property
    def size(self) -> int:
        """Its bytes."""


class ArrayBase:
    """What NumPy takes uint8 ``[size]`` from without a copy, and keeps as the base of all arrays made of it."""

    def __init__(self, memory: HostMemory) -> None:
        self._memory = memory
        self.__array_interface__ = {
            "shape": (memory.size,),
            "typestr": "|u1",
            "data": (memory.address, False),
            "version": 3,
        }


class Memory:
    """A piece of GPU memory; given back to its pool, in stream order, when nobody refers to it any more.

    Attributes:
        address: where it begins.
        size: its bytes.
    """

    def __init__(self, buffer: Any, free: Callable[[Any], None]) -> None:  # noqa: ANN401 - a cuda.core.Buffer
        self.address = int(buffer.handle)
        self.size = int(buffer.size)
        weakref.finalize(self, free, buffer).atexit = False  # the driver takes everything back at the end


class PinnedMemory:
    """Page-locked host memory; freed when nobody refers to it any more.

    Attributes:
        address: where it begins, on the host.
        size: its bytes.
    """

    def __init__(self, address: int, size: int, free: Callable[[int], None]) -> None:
        self.address = address
        self.size = size
        weakref.finalize(self, free, address).atexit = False

    def array(self, shape: tuple[int, ...], dtype: type[np.generic]) -> np.ndarray[Any, Any]:
        """The memory as an array that keeps it alive."""
        return np.asarray(ArrayBase(self)).view(dtype).reshape(shape)
