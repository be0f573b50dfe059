"""The labelled frames of any source as a plain Python loop; see :meth:`ifseg_rt.segmenter.Segmenter.stream`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from ifseg_rt.errors import IfsegError
from ifseg_rt.sources.find import find_sources
from ifseg_rt.sources.settings import SourceSettings
from ifseg_rt.stream.counts import Counts
from ifseg_rt.stream.items import Closed, Happened, Labelled, Opened
from ifseg_rt.stream.labelling import LabelStream, raise_failed
from ifseg_rt.stream.observer import Observer
from ifseg_rt.stream.policy import StreamPolicy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ifseg_rt.result import Result


class SegmentedStream:
    """Labelled frames of sources; iterate over it, once.

    Args:
        segment: labels one H x W x 3 uint8 BGR frame.
        sources: as the command takes them.
        policy: what happens when frames come too fast, too late or not at all.
        settings: how sources are read.
        observer: is told of events and of what was left out.

    Raises:
        SourceError: a file does not exist, or nothing of it can be read.
        UsageError: an address or a setting is invalid.
    """

    def __init__(
        self,
        segment: Callable[[NDArray[np.uint8]], Result],
        sources: Sequence[str | int | Path],
        policy: StreamPolicy | None = None,
        settings: SourceSettings | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._observer = observer or Observer()
        settings = settings or SourceSettings()
        found = find_sources([str(source) for source in sources], settings)
        for path, reason in found.left_out:
            self._observer.note(f"left out: {path}: {reason}")
        self._sources = found.found
        self._stream = LabelStream(segment, self._sources, policy, settings)
        self._started = False

    def __iter__(self) -> Iterator[Labelled]:
        """The labelled frames in their order.

        Raises:
            SourceError: a source failed. Where there are several, at the end; the others are read first.
            DeviceError: the device failed.
        """
        counts = {id(source): Counts() for source in self._sources}
        failed: list[tuple[str, IfsegError]] = []
        try:
            self._start()
            for item in self._stream:
                if isinstance(item, Labelled):
                    counts[id(item.source)].frame(item)
                    yield item
                elif isinstance(item, Happened):
                    counts[id(item.source)].event(item.event)
                    self._observer.event(item.source, item.event)
                elif isinstance(item, Opened):
                    self._observer.source_opened(item.source, item.source.total)
                else:
                    self._close_source(item, counts[id(item.source)], failed)
            raise_failed(failed, len(self._sources))
        finally:
            self.close()

    def __enter__(self) -> SegmentedStream:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop all threads, at most two seconds long. May be called again, and from another thread."""
        if self._started:
            self._stream.close()

    def _start(self) -> None:
        if not self._started:
            self._started = True
            self._stream.__enter__()

    def _close_source(self, closed: Closed, counts: Counts, failed: list[tuple[str, IfsegError]]) -> None:
        self._observer.source_closed(closed.source, counts)
        if closed.error is not None:
            failed.append((closed.source.name, closed.error))
            if len(self._sources) > 1:
                self._observer.error(str(closed.error), closed.error.hint)
