"""Video output: the overlays at the times of the source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ifseg_rt.sinks.placing.files import Place
from ifseg_rt.sinks.recording.encoder import MPEG4, even, for_avi, for_pictures
from ifseg_rt.sinks.recording.segments import VideoFiles

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ifseg_rt.result import Result
    from ifseg_rt.sources.base import Frame


class VideoSink:
    """Writes the overlays of one source into a video, every frame at its own time.

    While it is written the file is called ``NAME.partial.mp4``; every frame is in it, and playable, before
    :meth:`write` returns. :meth:`close` gives it an index and moves it into place.

    Args:
        place: the file; its suffix is one of :data:`ifseg_rt.sinks.choice.VIDEO_SUFFIXES`. AVI knows no times: its
            frames follow each other evenly.
        live: take the times at which frames were captured, not those that they bring.
        rate: frames per second stated by the source, for frames without times.
        audio_from: a file whose sound track is copied, in step with the pictures.
        note: told what a user should know: a coding that browsers do not play, sound that is dropped, times mended.
    """

    draws = True

    def __init__(
        self,
        place: Place,
        *,
        live: bool = False,
        rate: float | None = None,
        audio_from: Path | None = None,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._files = VideoFiles(place, live=live, rate=rate, sound=audio_from, note=note)
        self._coding = for_avi() if place.path.suffix.lower() == ".avi" else for_pictures()
        if self._coding.codec == MPEG4:
            note("videos are coded as MPEG-4, which browsers do not play: this PyAV was built without libx264")

    @property
    def left_at(self) -> Mapping[str, str]:
        """After :meth:`close`: the files that are not where :meth:`write` said, and where they are."""
        return {str(named): str(real) for named, real in self._files.left_at.items()}

    def write(self, frame: Frame, result: Result, drawn: NDArray[np.uint8] | None) -> dict[str, str]:
        """See :meth:`ifseg_rt.sinks.base.Sink.write`."""
        if drawn is None:
            return {}
        return {"overlay": str(self._files.write(frame, even(drawn), self._coding))}

    def close(self, *, complete: bool = True) -> None:
        """See :meth:`ifseg_rt.sinks.base.Sink.close`."""
        self._files.close(complete=complete)
