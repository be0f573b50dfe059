"""Reads results that lie in GPU memory: waiting for them, copying them, handing them over; also after closing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ifseg_rt.errors import UsageError, not_finite
from ifseg_rt.gpu.cuda_errors import device_errors
from ifseg_rt.result import Result

if TYPE_CHECKING:
    from ifseg_rt.frames import ColorOrder
    from ifseg_rt.gpu.device import Gpu
    from ifseg_rt.gpu.layout import ResultLayout
    from ifseg_rt.gpu.memory import Memory, PinnedMemory, Region
    from ifseg_rt.gpu.results.blocks import Block, BlockPool


@dataclass(frozen=True)
class DeviceMemoryResult:
    """Where one result lies, and whether it still does.

    Attributes:
        memory: the allocation.
        layout: what lies where in it.
        color: channel order of the frame.
        blocks: host memory for results of this size.
        is_valid: ``False`` once a later frame has taken the memory.
    """

    memory: Memory
    layout: ResultLayout
    color: ColorOrder
    blocks: BlockPool
    is_valid: Callable[[], bool]

    def require_valid(self) -> None:
        """Refuse to touch memory that holds another frame's result.

        Raises:
            UsageError: the segmenter was called again since.
        """
        if not self.is_valid():
            raise UsageError(
                "this result was overwritten: its Segmenter was called again or closed",
                hint="call .copy() or .to_host() before the next frame",
            )


class ResultReader:
    """What results on one GPU are read through. Any number of threads may; they take turns.

    Nothing is allocated per call, but by :meth:`duplicate`: results come to the host in the blocks of their frame size,
    which :meth:`ifseg_rt.gpu.runner.GpuRunner.run` uses too.

    Args:
        gpu: where the results are.
        lock: of the runner that writes them.
        device: what runs the network, for messages.
        categories: names in label order, of every result.
        colors: RGB colour (0..255) of every category.
    """

    def __init__(
        self,
        gpu: Gpu,
        lock: AbstractContextManager[Any],
        device: str,
        categories: tuple[str, ...],
        colors: tuple[tuple[int, int, int], ...],
    ) -> None:
        self._gpu = gpu
        self._lock = lock
        self._device = device
        self.categories = categories
        self.colors = colors
        self._flags: PinnedMemory | None = None  # made when first needed, then used again under the lock

    def fetch(self, result: DeviceMemoryResult) -> Result:
        """Copy a result to the host; it is the caller's for good.

        Raises:
            DeviceError: the GPU failed, or the model computed values that are not finite.
            UsageError: a later call has taken the memory.
        """
        with self._reading(result):
            with device_errors("copying the result"):
                block = result.blocks.take()
                self._gpu.copy(block.address, result.memory.address, result.layout.size)
                self._gpu.synchronize()
            return self.result_in(block, result.layout, result.color, {})

    def finish(self, result: DeviceMemoryResult) -> None:
        """Wait for a result and check it; errors as for :meth:`fetch`."""
        with self._reading(result):
            flags = result.layout.flags
            with device_errors("waiting for the result"):
                if self._flags is None:
                    self._flags = self._gpu.allocate_pinned(flags.size)
                self._gpu.copy(self._flags.address, result.memory.address + flags.offset, flags.size)
                self._gpu.synchronize()
            if self._flags.array(flags.shape, np.int32).any():
                raise not_finite(self._device)

    def duplicate(self, result: DeviceMemoryResult) -> Memory:
        """Copy a result to GPU memory of its own; errors as for :meth:`fetch`."""
        with self._reading(result):
            with device_errors("copying the result on the GPU"):
                memory = self._gpu.allocate(result.layout.size)
                self._gpu.copy(memory.address, result.memory.address, result.layout.size)
            return memory

    def hand_over(
        self, result: DeviceMemoryResult, region: Region, stream: int | None, version: tuple[int, int] | None
    ) -> Any:  # noqa: ANN401 - a PyCapsule
        """A DLPack capsule over a part of a result, which ``stream`` may read from now on; errors as before."""
        with self._reading(result), device_errors("handing a result over"):
            if stream is not None:
                self._gpu.lead(stream)
            return self._gpu.export(result.memory, region.offset, region.shape, region.dtype, version)

    def show(self, result: DeviceMemoryResult) -> None:
        """Let the default stream wait for a result: for readers that ask for no stream; errors as before."""
        with self._reading(result), device_errors("handing a result over"):
            self._gpu.lead(0)

    def result_in(self, block: Block, layout: ResultLayout, color: ColorOrder, timings: Mapping[str, float]) -> Result:
        """The result that was copied into ``block``, made of its memory.

        Raises:
            DeviceError: the model computed values that are not finite.
        """
        if block.array(layout.flags).any():
            raise not_finite(self._device)
        return Result(
            labels=block.array(layout.labels),
            probabilities=block.array(layout.planes),
            categories=self.categories,
            colors=self.colors,
            color=color,
            timings=timings,
            picture=None if layout.picture is None else block.array(layout.picture),
            known_confidence=None if layout.confidence is None else block.array(layout.confidence),
        )

    @contextmanager
    def _reading(self, result: DeviceMemoryResult) -> Iterator[None]:
        # Also after the runner was closed: copies of results outlive it.
        with self._lock:
            result.require_valid()
            with self._gpu.current():
                yield
