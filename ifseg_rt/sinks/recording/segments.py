"""The video files made of one source: one, and another whenever the frames change their size."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ifseg_rt.sinks.base import SinkError
from ifseg_rt.sinks.placing.files import Place, in_words, put_in_place
from ifseg_rt.sinks.placing.names import longest_name, partial_name, shortened
from ifseg_rt.sinks.recording.encoder import Coding
from ifseg_rt.sinks.recording.finish import CONTAINERS, Length, finished
from ifseg_rt.sinks.recording.fragments import TICKS, FragmentedVideo
from ifseg_rt.sinks.recording.times import FrameTimes, frame_duration

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ifseg_rt.sources.base import Frame

# What is written until the end: AVI has no fragments.
_WRITTEN_AS = {".mp4": ".mp4", ".m4v": ".m4v", ".mov": ".mov", ".mkv": ".mkv", ".avi": ".mkv"}


@dataclass
class _Segment:
    video: FragmentedVideo
    place: Place
    begin: int  # ticks from the start of the source to zero of the file
    end: float = 0.0  # seconds from the start of the source to the end of the last frame
    last: float = 0.0  # seconds that the last frame lasts


class VideoFiles:
    """Writes pictures into ``NAME.partial.mp4`` and moves it to ``NAME.mp4`` when it is finished.

    Args:
        place: where the video goes; its suffix chooses the container. Further ones are called ``NAME-2.mp4``.
        live: see :class:`ifseg_rt.sinks.recording.times.FrameTimes`.
        rate: the same.
        sound: a file whose sound track is copied; ``None`` for none.
        note: told what a user should know.

    Attributes:
        left_at: what is not where it belongs: the name given out for its frames, and the one it has.
    """

    def __init__(
        self, place: Place, *, live: bool, rate: float | None, sound: Path | None, note: Callable[[str], None]
    ) -> None:
        self._place = place
        self._container = CONTAINERS[_WRITTEN_AS[place.path.suffix.lower()]]
        self._times = FrameTimes(live=live, rate=rate, ticks=TICKS[self._container])
        self._sound = sound
        self._note = note
        self._segment: _Segment | None = None
        self._count = 0
        self._held: list[_Segment] = []
        self._key: tuple[object, ...] | None = None
        self._failure: SinkError | None = None
        self._noted = 0
        self._noted_avi = False
        self.left_at: dict[Path, Path] = {}

    def write(self, frame: Frame, picture: NDArray[Any], coding: Coding) -> Path:
        """Add a frame; gives the file that holds it from now on.

        Raises:
            SinkError: it could not be stored; no more frames are taken.
        """
        if self._failure is not None:
            raise self._failure
        key = (picture.shape, coding)
        try:
            if self._segment is None or key != self._key:
                self._begin_segment(frame, picture, coding)
                self._key = key
            segment = self._segment
            if segment is None:
                raise OSError(errno.EIO, "no file was begun")
            tick = self._times(frame)
            if segment.video.frames == 0 and self._count > 1:
                segment.begin = tick
            segment.video.append(picture, tick - segment.begin, self._times.step)
        except SinkError as error:  # of finishing the file before
            self._failure = error
            raise
        except OSError as error:
            self._failure = self._refused(error)
            raise self._failure from error
        ticks = TICKS[self._container]
        segment.last = frame_duration(frame) or self._times.step / ticks
        segment.end = tick / ticks + segment.last
        return segment.place.path

    def close(self, *, complete: bool = True) -> None:
        """Finish the last file; may be called twice.

        Args:
            complete: whether the source came to its end; otherwise an earlier output of that name stays.

        Raises:
            SinkError: it could not be finished; :attr:`left_at` says where it is.
        """
        complete = complete and self._failure is None
        ended, self._held = self._held, []
        if self._segment is not None:
            ended.append(self._segment)
            self._segment = None
        failed: list[SinkError] = []
        for segment in ended:
            try:
                self._finish(segment, complete=complete)
            except SinkError as error:
                failed.append(error)
        self._tell()
        if failed:
            raise failed[0]

    def _tell(self) -> None:
        if self._times.uneven and self._place.path.suffix.lower() == ".avi" and not self._noted_avi:
            self._noted_avi = True
            self._note(f"{self._place.path}: AVI knows no times, so the frames follow each other evenly")
        if self._times.mended > self._noted:
            mended, self._noted = self._times.mended, self._times.mended
            frames = "1 frame" if mended == 1 else f"{mended} frames"
            self._note(f"{self._place.path}: {frames} came without a usable time and got one between the neighbours'")

    def _begin_segment(self, frame: Frame, picture: NDArray[Any], coding: Coding) -> None:
        ended, self._segment = self._segment, None
        if ended is not None and ended.place.replaces and os.path.lexists(ended.place.path):
            self._held.append(ended)  # whether it may replace an earlier output is known at the end
        elif ended is not None:
            self._finish(ended, complete=True)
        self._count += 1
        place = self._place if self._count == 1 else self._further_place()
        partial = partial_name(place.path, _WRITTEN_AS[place.path.suffix.lower()])
        size = picture.shape[1], picture.shape[0]
        self._segment = _Segment(
            FragmentedVideo(partial, self._container, coding, size, self._times.rate), place, begin=0
        )
        if self._count > 1:
            self._note(
                f"from frame {frame.index} on the frames are {size[0]} x {size[1]} pixels; they go to {place.path}"
            )

    def _further_place(self) -> Place:
        path = self._place.path
        number = self._count
        stem = shortened(path.stem, longest_name(path.parent) - len(f"-9999{path.suffix}"))
        while os.path.lexists(candidate := path.with_name(f"{stem}-{number}{path.suffix}")):
            number += 1
        self._count = number
        return Place(candidate)

    def _finish(self, segment: _Segment, *, complete: bool) -> None:
        partial, place = segment.video.path, segment.place
        try:
            segment.video.close()
            if segment.video.frames == 0:
                partial.unlink()
                return
            if not complete and os.path.lexists(place.path):
                self.left_at[place.path] = partial
                self._note(f"{place.path} is that of an earlier run; what could be written now is {partial}")
                return
            self._move(segment, place if complete else Place(place.path))
        except OSError as error:
            self.left_at[place.path] = partial
            raise SinkError(
                f"cannot finish {place.path}: {in_words(error)}", hint=f"its frames are in {partial}"
            ) from error

    def _move(self, segment: _Segment, place: Place) -> None:
        begin = segment.begin / TICKS[self._container]
        length = Length(segment.video.frames, begin, segment.end, segment.last)
        partial = segment.video.path
        made: Path | None = None
        if self._sound is not None:
            try:
                made = finished(partial, place.path, length, sound=self._sound, note=self._note)
            except OSError as error:
                self._note(f"no sound in {place.path}: {in_words(error)}")
        try:
            made = made or finished(partial, place.path, length, sound=None, note=self._note)
        except OSError as error:
            if partial.suffix.lower() != place.path.suffix.lower():
                raise
            # No room for a second copy. The recording itself plays too, but players must read all of it to seek.
            put_in_place(partial, place)
            self._note(
                f"{place.path} plays, but seeking in it is slow: there was no room to index it ({in_words(error)})"
            )
            return
        try:
            put_in_place(made, place)
        except OSError:
            made.unlink(missing_ok=True)
            raise
        partial.unlink()

    def _refused(self, error: OSError) -> SinkError:
        path = self._segment.place.path if self._segment is not None else self._place.path
        frames = self._segment.video.frames if self._segment is not None else 0
        held = f"; it holds the {frames} frames before" if frames else ""
        return SinkError(f"cannot write {path}: {in_words(error)}{held}")
