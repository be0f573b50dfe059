"""What the GPU runner needs from a network on the GPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class GpuNetwork(Protocol):
    """A loaded network whose inputs and outputs lie in GPU memory that it does not own.

    It enqueues on the stream it was made for. The runner calls it from one thread at a time, with the GPU current.
    """

    @property
    def device(self) -> str:
        """What runs it: ``"cuda"``, ``"tensorrt"`` or ``"tensorrt_rtx"``."""

    @property
    def fallback_reason(self) -> str | None:
        """Why it is not run by what would have been preferred, or ``None``."""

    def bind(self, addresses: Mapping[str, int]) -> None:
        """Say once where the tensors lie: ``image``, ``logits`` and, for the refinement, ``neighbours``, as
        device addresses.

        Raises:
            DeviceError: the run time refuses them.
        """

    def enqueue(self) -> None:
        """Enqueue one run over the bound memory; does not wait.

        Raises:
            DeviceError: the run time failed, in its own words.
        """

    def why_not_recordable(self) -> str | None:
        """Why a run cannot become part of a CUDA graph, or ``None`` where it can; asked after the first run."""

    def close(self) -> None:
        """Free its memory; may be called twice."""
