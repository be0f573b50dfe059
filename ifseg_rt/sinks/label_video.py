"""Label maps as a lossless video: pixel value = category index, every frame at its own time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ifseg_rt.errors import SourceError
from ifseg_rt.sinks.placing.files import Place
from ifseg_rt.sinks.recording.encoder import for_labels
from ifseg_rt.sinks.recording.segments import VideoFiles

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ifseg_rt.result import Result
    from ifseg_rt.sources.base import Frame


class LabelVideoSink:
    """Writes label maps with the FFV1 codec: 8 bits of grey, or 16 above 255 categories.

    Safe in the same way as :class:`ifseg_rt.sinks.videos.VideoSink`. Times are kept to the millisecond.

    Args:
        place: the file, a ``.mkv``.
        live: take the times at which frames were captured, not those that they bring.
        rate: frames per second stated by the source, for frames without times.
        note: told what a user should know.
    """

    draws = False

    def __init__(
        self,
        place: Place,
        *,
        live: bool = False,
        rate: float | None = None,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._files = VideoFiles(place, live=live, rate=rate, sound=None, note=note)
        self._narrow, self._wide = for_labels(wide=False), for_labels(wide=True)

    @property
    def left_at(self) -> Mapping[str, str]:
        """After :meth:`close`: the files that are not where :meth:`write` said, and where they are."""
        return {str(named): str(real) for named, real in self._files.left_at.items()}

    def write(self, frame: Frame, result: Result, drawn: NDArray[np.uint8] | None) -> dict[str, str]:
        """See :meth:`ifseg_rt.sinks.base.Sink.write`."""
        coding = self._narrow if result.labels.dtype == np.uint8 else self._wide
        return {"label-video": str(self._files.write(frame, result.labels, coding))}

    def close(self, *, complete: bool = True) -> None:
        """See :meth:`ifseg_rt.sinks.base.Sink.close`."""
        self._files.close(complete=complete)


def read_label_video(path: str | Path) -> Iterator[tuple[float, NDArray[np.uint8] | NDArray[np.uint16]]]:
    """Read a label video: time in seconds, and H x W uint8 or uint16 category indices, frame by frame.

    Raises:
        SourceError: the file cannot be read or is no label video.
    """
    import av

    try:
        with Path(path).open("rb") as file, av.open(file) as container:
            for frame in container.decode(video=0):
                if frame.format.name not in ("gray", "gray16le"):
                    raise SourceError(f"{path} is no label video: its pixels are {frame.format.name}, expected grey")
                yield frame.time or 0.0, frame.to_ndarray()
    except (OSError, av.FFmpegError, IndexError) as error:
        raise SourceError(f"cannot read {path}: {error}") from error
