"""Pieces of memory, on the GPU and page-locked on the host, arrays over them, and when they may be given back."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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


class DeferredFree:
    """What waits to be freed.

    Memory is dropped by any thread at any time, also by the garbage collector in the middle of a recording: page-locked
    memory freed then spoils the recording, and memory of the GPU freed on its stream would become a part of it. One
    object serves the whole process, because a recording forbids its thread to free anything, whosever it is.
    """

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._lock = threading.RLock()
        self._recording = False

    def free(self, release: Callable[[], None]) -> None:
        """Call ``release`` now, or as soon as nothing is recorded any more. Its errors are swallowed."""
        self._waiting.append(release)
        self.sweep()

    def sweep(self) -> None:
        """Free what waits, if that is allowed now; never blocks."""
        # Waiting for the lock could last for ever: a finaliser may interrupt the very thread that holds it.
        if not self._lock.acquire(blocking=False):
            return
        try:
            while not self._recording:
                try:
                    release = self._waiting.popleft()
                except IndexError:
                    return
                with suppress(Exception):
                    release()
        finally:
            self._lock.release()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Free nothing during the block; one block at a time."""
        with self._lock:
            self._recording = True
            try:
                yield
            finally:
                self._recording = False
        self.sweep()
