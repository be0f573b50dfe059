"""Several outputs for one source, each attempted on its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ifseg_rt.sinks.base import Sink, SinkError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ifseg_rt.result import Result
    from ifseg_rt.sources.base import Frame


class Together:
    """Hands every frame to several sinks. What one cannot store keeps no other from storing it.

    Args:
        sinks: the sinks.
    """

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = tuple(sinks)

    @property
    def draws(self) -> bool:
        """See :meth:`ifseg_rt.sinks.base.Sink.draws`."""
        return any(sink.draws for sink in self._sinks)

    @property
    def left_at(self) -> Mapping[str, str]:
        """See :meth:`ifseg_rt.sinks.base.Sink.left_at`."""
        return {named: real for sink in self._sinks for named, real in sink.left_at.items()}

    def write(self, frame: Frame, result: Result, drawn: NDArray[np.uint8] | None) -> dict[str, str]:
        """See :meth:`ifseg_rt.sinks.base.Sink.write`; the error names everything that failed, and what did not."""
        written: dict[str, str] = {}
        failed: list[SinkError] = []
        for sink in self._sinks:
            try:
                written.update(sink.write(frame, result, drawn))
            except SinkError as error:
                written.update(error.written)
                failed.append(error)
        _raise(failed, written)
        return written

    def close(self, *, complete: bool = True) -> None:
        """See :meth:`ifseg_rt.sinks.base.Sink.close`."""
        failed: list[SinkError] = []
        for sink in self._sinks:
            try:
                sink.close(complete=complete)
            except SinkError as error:
                failed.append(error)
        _raise(failed, {})


def _raise(failed: Sequence[SinkError], written: Mapping[str, str]) -> None:
    if failed:
        hint = next((error.hint for error in failed if error.hint is not None), None)
        raise SinkError("; ".join(str(error) for error in failed), hint=hint, written=written) from failed[0]
