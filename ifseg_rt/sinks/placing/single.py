"""One output file that the user named, and what is written beside it."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ifseg_rt.errors import UsageError
from ifseg_rt.sinks.base import SinkError
from ifseg_rt.sinks.choice import VIDEO_SUFFIXES, Wanted, endings_of
from ifseg_rt.sinks.palette import is_our_own
from ifseg_rt.sinks.placing.files import Place, in_words
from ifseg_rt.sinks.placing.names import longest_name, same_name, shortened
from ifseg_rt.sources.base import Source

_PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
# What else one file can hold, where no overlay is asked for.
_ALONE = {"labels": ".png", "label-video": ".mkv", "coco": ".json"}
_ADDED = 40  # bytes of a companion's name after the stem


def means_folder(output: str) -> bool:
    """Whether what the user named is a folder: it is one, ends like one, or has no suffix.

    Raises:
        UsageError: it is no name at all.
    """
    if not output or "\0" in output:
        raise UsageError(f"--output {output!r} is no name of a file or folder")
    try:
        return output.endswith(("/", os.sep)) or Path(output).is_dir() or Path(output).suffix == ""
    except OSError as error:  # too long, say
        raise UsageError(f"--output {output}: {in_words(error)}") from error


class SingleOutput:
    """The files written for ``--output o.jpg``.

    The named file is replaced at the end. ``o_labels.png`` beside it is replaced where it is an earlier label map of
    ours; where it is somebody else's, the run is refused. Other companions get names that are free.

    Args:
        path: the file named by the user.
        sources: everything that will be read; exactly one.
        wanted: which kinds.

    Attributes:
        places: where each kind goes.

    Raises:
        UsageError: the file cannot hold what the source gives, or a source or a foreign file would be overwritten.
        SinkError: the folder of the file cannot be made.
    """

    def __init__(self, path: Path, sources: Sequence[Source], wanted: Wanted) -> None:
        if len(sources) != 1:
            raise UsageError(f"--output {path} is one file, but there are {len(sources)} sources", hint="name a folder")
        source = sources[0]
        kinds = wanted.kinds(source)
        named = _held(path, source, kinds)
        self.places = {named: Place(path, replaces=True)}
        stem = shortened(path.stem, longest_name(_existing(path.parent)) - _ADDED)
        for kind, ending in endings_of(source, kinds).items():
            if kind != named:
                self.places[kind] = _companion(path, stem, ending, kind, source, wanted)
        for place in self.places.values():
            if _is_source(place.path, source):
                raise UsageError(
                    f"--output {path} would overwrite the source {source.name}", hint="choose another name"
                )
        try:
            if path.exists() and not path.is_file():
                raise UsageError(f"--output {path} is there and is no file")
            path.parent.mkdir(parents=True, exist_ok=True)
            if not os.access(path.parent, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, "no permission")
        except OSError as error:
            raise SinkError(f"cannot write into the output folder {path.parent}: {in_words(error)}") from error


def _held(path: Path, source: Source, kinds: Sequence[str]) -> str:
    """Which kind the named file holds."""
    suffix = path.suffix.lower()
    if len(os.fsencode(path.name)) > longest_name(_existing(path.parent)):
        raise UsageError(f"--output {path}: the name is longer than the file system allows")
    if "overlay" not in kinds:
        for kind in kinds:
            if _ALONE.get(kind) == suffix and (kind != "labels" or source.is_still):
                return kind
        raise UsageError(
            f"--output {path} is one file and cannot hold {', '.join(kinds) or 'nothing'}", hint="name a folder"
        )
    if suffix not in _PICTURES and suffix not in VIDEO_SUFFIXES:
        raise UsageError(
            f"--output {path}: expected a folder, a picture (.jpg) or a video ({' '.join(VIDEO_SUFFIXES)}), "
            f"found {suffix}",
            hint=f"for a folder of that name: --output {path}/",
        )
    if suffix in VIDEO_SUFFIXES and source.is_still:
        raise UsageError(f"--output {path} is a video, but {source.name} is a picture", hint="use .jpg or .png")
    if suffix in _PICTURES and not source.is_still:
        kind = "camera or stream" if source.is_live else "video"
        raise UsageError(f"--output {path} is a picture, but {source.name} is a {kind}", hint="use .mp4")
    return "overlay"


def _companion(path: Path, stem: str, ending: str, kind: str, source: Source, wanted: Wanted) -> Place:
    candidate = path.with_name(f"{stem}{ending}")
    if not os.path.lexists(candidate):
        return Place(candidate)
    if _is_source(candidate, source):
        raise UsageError(
            f"--output {path} also writes {candidate}, which is the source", hint="choose another name, or a folder"
        )
    if kind == "labels" and source.is_still:
        if is_our_own(candidate):
            return Place(candidate, replaces=True)
        raise UsageError(
            f"--output {path} also writes {candidate}, which is there and is no label map of an earlier run",
            hint="choose another name, move that file away, or leave the labels out with --save overlay",
        )
    number = 2
    while os.path.lexists(candidate := path.with_name(f"{stem}{Path(ending).stem}-{number}{Path(ending).suffix}")):
        number += 1
    wanted.note(f"{kind} go to {candidate}: the name without a number is taken")
    return Place(candidate)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there and can be looked at."""
    while folder != folder.parent:
        with suppress(OSError):
            if folder.exists():
                break
        folder = folder.parent
    return folder


def _is_source(path: Path, source: Source) -> bool:
    if source.path is None:
        return False
    try:
        if path.exists() and source.path.exists() and path.samefile(source.path):
            return True
        return same_name(str(path.resolve())) == same_name(str(source.path.resolve())) and not path.exists()
    except (OSError, RuntimeError):  # a name that cannot be followed is nobody's file
        return False
