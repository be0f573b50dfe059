"""What the segmenter needs from a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class HostNetwork(Protocol):
    """A loaded model. The segmenter calls it from one thread at a time."""

    @property
    def device(self) -> str:
        """Where it really runs: ``"cpu"`` or ``"cuda"``."""

    @property
    def fallback_reason(self) -> str | None:
        """Why it does not run where ``"auto"`` would have preferred, or ``None``."""

    def run(self, image: NDArray[np.float32], outputs: Sequence[str]) -> list[NDArray[np.float32] | NDArray[np.int32]]:
        """Run one normalised image (1 x 3 x H x W float32) and return the named outputs in order.

        Raises:
            DeviceError: the device failed while running.
        """

    def close(self) -> None:
        """Free the device's memory; may be called twice."""
