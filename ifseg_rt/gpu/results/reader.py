"""Reads results that lie in GPU memory: waiting for them, copying them, handing them over; also after closing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from ifseg_rt.gpu.cuda_errors import device_errors
from ifseg_rt.host.runner import not_finite
from ifseg_rt.runner import Labelled

if TYPE_CHECKING:
    from ifseg_rt.frames import ColorOrder
    from ifseg_rt.gpu.device import Gpu, Memory, PinnedMemory
    from ifseg_rt.gpu.layout import Region, ResultLayout
    from ifseg_rt.gpu.results.blocks import Block
    from ifseg_rt.gpu.results.on_gpu import DeviceMemoryResult


class ResultReader:
    """What results on one GPU are read through. Any number of threads may; they take turns.

    Nothing is allocated per call, but by :meth:`duplicate`: results come to the host in the blocks of their frame size,
    which :meth:`ifseg_rt.gpu.runner.GpuRunner.run` uses too.

    Args:
        gpu: where the results are.
        lock: of the path that writes them.
        device: what runs the network, for messages.
    """

    def __init__(self, gpu: Gpu, lock: AbstractContextManager[Any], device: str) -> None:
        self._gpu = gpu
        self._lock = lock
        self._device = device
        self._flags: PinnedMemory | None = None  # made when first needed, then used again under the lock

    def fetch(self, result: DeviceMemoryResult) -> Labelled:
        """Copy a result to the host; it is the caller's for good.

        Raises:
            DeviceError: the GPU failed, or the model computed values that are not finite.
            UsageError: a later call has taken the memory.
        """
        with self._reading(result):
            with device_errors("copying the result"):
                block = result.blocks.take()
                self._gpu.copy(block.address, result.memory.address, result.plan.size)
                self._gpu.synchronize()
            return labelled(block, result.plan, result.color, {}, self._device)

    def finish(self, result: DeviceMemoryResult) -> None:
        """Wait for a result and check it; errors as for :meth:`fetch`."""
        with self._reading(result):
            flags = result.plan.flags
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
                memory = self._gpu.allocate(result.plan.size)
                self._gpu.copy(memory.address, result.memory.address, result.plan.size)
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

    @contextmanager
    def _reading(self, result: DeviceMemoryResult) -> Iterator[None]:
        # Also after the path was closed: copies of results outlive it.
        with self._lock:
            result.require_valid()
            with self._gpu.current():
                yield


def labelled(
    block: Block, plan: ResultLayout, color: ColorOrder, timings: Mapping[str, float], device: str
) -> Labelled:
    """The arrays of a result that was copied into ``block``.

    Raises:
        DeviceError: the model computed values that are not finite.
    """
    if block.array(plan.flags).any():
        raise not_finite(device)
    return Labelled(
        labels=block.array(plan.labels),
        probabilities=block.array(plan.planes),
        color=color,
        timings=timings,
        confidence=None if plan.confidence is None else block.array(plan.confidence),
        picture=None if plan.picture is None else block.array(plan.picture),
    )
