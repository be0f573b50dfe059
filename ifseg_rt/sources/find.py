"""Turns what the user named (files, folders, patterns, cameras) into sources of frames."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ifseg_rt.errors import SourceError
from ifseg_rt.sources.base import Source
from ifseg_rt.sources.camera import CameraSource
from ifseg_rt.sources.pictures import PICTURE_SUFFIXES, PictureSource
from ifseg_rt.sources.videos import VIDEO_SUFFIXES, VideoSource


@dataclass(frozen=True)
class Sources:
    """The sources found, and how many files beside them were neither pictures nor videos."""

    found: tuple[Source, ...]
    ignored: int = 0


def find_sources(arguments: Sequence[str]) -> Sources:
    """Find everything the user named, in the order named; folders and patterns in the order of file names.

    Args:
        arguments: picture files, video files, folders (not searched deeper), patterns (``"clips/**/*.mp4"``) or
            camera devices (``/dev/video0``).

    Raises:
        SourceError: one of them does not exist or holds neither pictures nor videos.
    """
    found: list[Source] = []
    ignored = 0
    for argument in arguments:
        path = Path(argument)
        if "://" in argument:
            raise SourceError(
                f"{argument.split('://')[0]}:// addresses are not read by this build: expected a file or a camera",
                hint="download the file first",
            )
        if path.is_char_device():
            found.append(CameraSource(argument))
        elif path.is_file():
            found.append(_file(path))
        elif path.is_dir():
            usable, others = _usable(sorted(path.iterdir()))
            if not usable:
                raise SourceError(f"the folder {path} holds no pictures and no videos ({others} other files)")
            found += usable
            ignored += others
        elif glob.has_magic(argument):
            matches = [Path(match) for match in sorted(glob.glob(argument, recursive=True))]  # noqa: PTH207 (absolute)
            usable, others = _usable(matches)
            if not usable:
                raise SourceError(f"no picture or video matches the pattern {argument}")
            found += usable
            ignored += others
        else:
            hint = f"for a camera: --camera {argument}" if argument.isdecimal() else None
            raise SourceError(f"there is no file or folder {argument}", hint=hint)
    return Sources(tuple(found), ignored)


def _usable(paths: Sequence[Path]) -> tuple[list[Source], int]:
    files = [path for path in paths if path.is_file()]
    usable = [path for path in files if path.suffix.lower() in PICTURE_SUFFIXES | VIDEO_SUFFIXES]
    return [_file(path) for path in usable], len(files) - len(usable)


def _file(path: Path) -> Source:
    # A file the user named is always tried: without a known picture suffix, as a video (FFmpeg looks at the content).
    return PictureSource(path) if path.suffix.lower() in PICTURE_SUFFIXES else VideoSource(path)
