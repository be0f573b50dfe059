"""Results in page-locked host memory: the GPU writes them where the caller reads them, without a copy in between."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ifseg_rt.gpu.memory import ArrayBase, HostMemory

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ifseg_rt.gpu.memory import Region

# Callers that keep more results than this get copies in ordinary memory: page-locked memory is taken from the system.
LENT_AT_MOST = 4


class Block:
    """Host memory for one result.

    Attributes:
        address: where the GPU writes.
    """

    def __init__(self, memory: HostMemory, give_back: Callable[[HostMemory], Any] | None) -> None:
        self._memory = memory
        self._lent = give_back is not None
        lease = ArrayBase(memory)
        if give_back is not None:
            weakref.finalize(lease, give_back, memory).atexit = False
        self._bytes = np.asarray(lease)
        self.address = memory.address

    def array(self, region: Region) -> NDArray[Any]:
        """The array that lies at ``region``; it belongs to the caller, and the block lives as long as it does."""
        piece = self._bytes[region.offset : region.offset + region.size].view(region.dtype).reshape(region.shape)
        return piece if self._lent else piece.copy()


class BlockPool:
    """Blocks of one size; one comes back by itself when the last array made from it is gone.

    Not for several threads at a time, except that blocks may come back from any thread.
    """

    def __init__(self, allocate: Callable[[int], HostMemory], size: int) -> None:
        self._allocate = allocate
        self._size = size
        self._made = 0
        # Leases end whenever the garbage collector says so, also inside take(): appending needs no lock.
        self._free: deque[HostMemory] = deque()
        self._reserve: HostMemory | None = None

    def take(self) -> Block:
        """A block to write the next result into."""
        try:
            return Block(self._free.pop(), self._free.append)
        except IndexError:
            pass
        if self._made < LENT_AT_MOST:
            memory = self._allocate(self._size)
            self._made += 1
            return Block(memory, self._free.append)
        if self._reserve is None:
            self._reserve = self._allocate(self._size)
        return Block(self._reserve, None)
