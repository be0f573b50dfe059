"""Which kinds of output a source gets, and the sinks that write them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ifseg_rt.errors import UsageError
from ifseg_rt.options import KINDS
from ifseg_rt.sinks.base import Sink
from ifseg_rt.sinks.pictures import LabelsSink, OverlaySink
from ifseg_rt.sinks.placing.files import Place
from ifseg_rt.sinks.together import Together
from ifseg_rt.sources.base import Source

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".avi")
_USUAL = {True: ("overlay", "labels"), False: ("overlay",)}  # by whether it is one picture


@dataclass
class Wanted:
    """What the user asked for.

    Attributes:
        save: kinds of output; ``None`` for the usual ones.
        audio: whether sound is copied.
        note: told what a user should know.
    """

    save: frozenset[str] | None
    audio: bool
    note: Callable[[str], None]
    _said: set[str] = field(default_factory=set)

    def kinds(self, source: Source) -> tuple[str, ...]:
        """The kinds that one source gets, in the order of :data:`KINDS`."""
        if self.save is None:
            return _USUAL[source.is_still]
        if source.is_still and "label-video" in self.save:
            self.once("label-video is made of videos; of a picture there is labels")
        return tuple(kind for kind in KINDS if kind in self.save and not (source.is_still and kind == "label-video"))

    def once(self, text: str) -> None:
        """Say something that is true of the whole run once."""
        if text not in self._said:
            self._said.add(text)
            self.note(text)


def check_kinds(save: frozenset[str] | None) -> None:
    """Check what the user typed.

    Raises:
        UsageError: a kind is unknown.
    """
    unknown = sorted((save or frozenset()) - set(KINDS))
    if unknown:
        raise UsageError(f"there is no output {unknown[0]!r}: expected some of {', '.join(KINDS)}")


def endings_of(source: Source, kinds: tuple[str, ...]) -> dict[str, str]:
    """What follows the stem in the name of every kind; of a video, ``labels`` and ``masks`` are folders."""
    still = source.is_still
    every = {
        "overlay": "_overlay.jpg" if still else "_overlay.mp4",
        "labels": "_labels.png" if still else "_labels",
        "masks": "_masks",
        "coco": "_coco.json",
        "label-video": "_labels.mkv",
    }
    return {kind: every[kind] for kind in kinds}


def sink_for(source: Source, places: Mapping[str, Place], wanted: Wanted) -> Sink | None:
    """The sink that writes these places, or ``None`` where there are none."""
    sinks = [_sink(source, kind, place, wanted) for kind, place in places.items()]
    return Together(sinks) if len(sinks) > 1 else sinks[0] if sinks else None


def _sink(source: Source, kind: str, place: Place, wanted: Wanted) -> Sink:
    # Imported when used: one picture is labelled without what only videos or masks need, 10 ms of its start.
    if kind == "coco":
        from ifseg_rt.sinks.coco import CocoSink

        return CocoSink(place, source.name, still=source.is_still)
    if kind == "masks":
        from ifseg_rt.sinks.masks import MasksSink

        return MasksSink(_numbered(place.path, source.is_still))
    if kind == "labels":
        if source.is_still:
            return LabelsSink(lambda index: place)
        numbered = _numbered(place.path, still=False)
        return LabelsSink(lambda index: Place(numbered(index).with_suffix(".png")))
    return OverlaySink(place) if source.is_still else _video_sink(source, kind, place, wanted)


def _video_sink(source: Source, kind: str, place: Place, wanted: Wanted) -> Sink:
    rate = None if source.is_live else source.fps
    if kind == "label-video":
        from ifseg_rt.sinks.label_video import LabelVideoSink

        return LabelVideoSink(place, live=source.is_live, rate=rate, note=wanted.once)
    from ifseg_rt.sinks.videos import VideoSink

    sound = source.path if not source.is_live else None
    if sound is not None and not wanted.audio:
        _say_that_sound_is_left_out(sound, wanted)
        sound = None
    return VideoSink(place, live=source.is_live, rate=rate, audio_from=sound, note=wanted.once)


def _numbered(path: Path, still: bool) -> Callable[[int], Path]:
    return lambda index: path if still else path / f"{index:06d}"


def _say_that_sound_is_left_out(path: Path, wanted: Wanted) -> None:
    from ifseg_rt.sinks.recording.sound import NoSoundError, Sound

    try:
        with Sound(path, 0.0, 0.0):
            wanted.once("videos are written without their sound; --audio copies it")
    except NoSoundError:
        pass
