"""Turns what the user named (files, folders, patterns, cameras, addresses) into sources of frames."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ifseg_rt.errors import SourceError
from ifseg_rt.sources.animations import AnimationSource
from ifseg_rt.sources.base import Source
from ifseg_rt.sources.content.kinds import DRAWN, Kind, kind_by_name, kind_of
from ifseg_rt.sources.content.names import readable_name, reason_of
from ifseg_rt.sources.live import live_source
from ifseg_rt.sources.network.urls import file_of_url
from ifseg_rt.sources.pictures import PictureSource
from ifseg_rt.sources.settings import SourceSettings
from ifseg_rt.sources.stdin import only_one_stdin
from ifseg_rt.sources.videos import VideoSource

_JUNK = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "__macosx", "$recycle.bin", "lost+found"})
_BY_OPENCV = frozenset({"WebP", "AVIF"})  # animations that FFmpeg does not read


@dataclass(frozen=True)
class Sources:
    """What was found.

    Attributes:
        found: the sources, in the order named.
        left_out: paths that were seen and not taken, as text, each with the reason; the hidden files that operating
            systems leave in folders are not among them.
    """

    found: tuple[Source, ...]
    left_out: tuple[tuple[str, str], ...] = ()


def find_sources(arguments: Sequence[str], settings: SourceSettings | None = None) -> Sources:
    """Find everything the user named, in the order named; folders and patterns in the order of file names.

    What a file is, is told by its content. A file that is named twice, also by two names, is taken once. A file or
    folder that exists under a name wins over every other meaning of it: with a file called ``0``, the camera is
    ``/dev/video0``. Files named one by one are always tried; in folders and patterns what cannot be read, or holds
    nothing to label, is left out.

    Args:
        arguments: picture files, video files, folders (not searched deeper), patterns (``"clips/**/*.mp4"``), or
            whatever :func:`ifseg_rt.sources.live.live_source` knows.
        settings: passed on to every source.

    Raises:
        SourceError: one of them does not exist, cannot be read, or holds nothing that could be labelled.
    """
    search = _Search(settings or SourceSettings())
    only_one_stdin(arguments)
    for argument in arguments:
        search.add(argument)
    return Sources(tuple(search.found), tuple(search.left_out))


class _Search:
    def __init__(self, settings: SourceSettings) -> None:
        self.found: list[Source] = []
        self.left_out: list[tuple[str, str]] = []
        self._settings = settings
        self._seen: dict[tuple[int, int], str] = {}
        self._taken: set[tuple[int, int] | None] = set()

    def add(self, argument: str) -> None:
        if not argument:
            raise SourceError("an empty name was given: expected a file, a folder, a pattern, a camera or an address")
        path = file_of_url(argument) or Path(argument)
        name = readable_name(path)
        status = _status(path, name)
        if status is None:
            live = live_source(argument, self._settings)
            if live is not None:
                self.found.append(live)
            elif glob.has_magic(argument):
                self._several(_matches(argument), f"no picture or video matches the pattern {name}")
            else:
                raise SourceError(f"there is no file or folder {name}")
        elif stat.S_ISREG(status.st_mode):
            self._file(path, name, status)
        elif stat.S_ISDIR(status.st_mode):
            self._several(_listed(path, name), f"the folder {name} holds no pictures and no videos")
        else:
            self._device(argument, name, status)

    def _file(self, path: Path, name: str, status: os.stat_result) -> None:
        if self._is_known(name, status):
            return
        try:
            kind = kind_of(path)
        except (OSError, ValueError) as error:
            raise SourceError(f"cannot read {name}: {reason_of(error)}") from error
        if kind.family == "other":
            raise SourceError(
                f"{name} is neither a picture nor a video that can be read, but a file of the kind {kind.name}",
                hint="convert it to JPEG or PNG first" if kind.name in DRAWN else None,
            )
        self._take(path, kind if kind.family != "unknown" else kind_by_name(path))

    def _several(self, paths: Sequence[Path], nothing: str) -> None:
        before, left_out = len(self.found), len(self.left_out)
        for path in paths:
            if not _is_junk(path):
                self._one_of_several(path)
        if len(self.found) == before and not self._taken & {_identity(path) for path in paths}:
            others = self.left_out[left_out:]
            raise SourceError(f"{nothing} ({len(others)} other files)", hint=_first_of(others))

    def _one_of_several(self, path: Path) -> None:
        name = readable_name(path)
        try:
            status = path.stat()
            if stat.S_ISDIR(status.st_mode):
                return
            if not stat.S_ISREG(status.st_mode):
                self.left_out.append((name, f"is {_word_for(status)}"))
            elif not self._is_known(name, status):
                self._take_if_usable(path, name)
        except (OSError, ValueError) as error:
            gone = isinstance(error, FileNotFoundError)  # a link to nowhere
            if not gone and kind_by_name(path).family in ("picture", "video"):
                self._take(path, kind_by_name(path))  # asked for and not there to be had: it fails when it is opened
            else:
                self.left_out.append((name, f"cannot be read: {reason_of(error)}"))

    def _take_if_usable(self, path: Path, name: str) -> None:
        kind = kind_of(path)
        if kind.family == "unknown":
            kind = kind_by_name(path)
        if kind.family in ("other", "unknown"):
            self.left_out.append((name, f"is of the kind {kind.name}" if kind.name else "is no picture and no video"))
        else:
            self._take(path, kind)

    def _take(self, path: Path, kind: Kind) -> None:
        settings = self._settings
        self._taken.add(_identity(path))
        if kind.family == "picture" and kind.pages > 1:
            self.found += [PictureSource(path, settings, page=page) for page in range(1, kind.pages + 1)]
        elif kind.family == "picture":
            self.found.append(PictureSource(path, settings))
        elif kind.name in _BY_OPENCV:
            self.found.append(AnimationSource(path, settings))
        else:  # without a known beginning or suffix, too: FFmpeg looks further into the content
            self.found.append(VideoSource(path, settings))

    def _is_known(self, name: str, status: os.stat_result) -> bool:
        """Whether the file was taken before, under this name or another."""
        first = self._seen.setdefault((status.st_dev, status.st_ino), name) if status.st_ino else name  # 0: unknown
        if first is name:
            return False
        self.left_out.append((name, f"is the same file as {first}" if first != name else "was named before"))
        return True

    def _device(self, argument: str, name: str, status: os.stat_result) -> None:
        live = live_source(argument, self._settings) if stat.S_ISCHR(status.st_mode) else None
        if live is None:
            raise SourceError(
                f"{name} is {_word_for(status)}: expected a picture, a video, a folder or a camera",
                hint="to read what a program writes: PROGRAM | ifseg-rt -" if stat.S_ISFIFO(status.st_mode) else None,
            )
        self.found.append(live)


def _status(path: Path, name: str) -> os.stat_result | None:
    """What lies under a path; ``None`` where nothing does."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        return None
    except (OSError, ValueError) as error:
        raise SourceError(f"cannot read {name[:80]}: {reason_of(error)}") from error


def _listed(folder: Path, name: str) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise SourceError(f"cannot read the folder {name}: {reason_of(error)}") from error


def _matches(pattern: str) -> list[Path]:
    """Expand a pattern, each entry of a folder once: a link from a folder to itself gives it dozens of names."""
    matches = [Path(match) for match in glob.glob(pattern, recursive=True)]  # noqa: PTH207 (absolute)
    folders = {parent: os.path.realpath(parent) for parent in {path.parent for path in matches}}
    shortest: dict[tuple[str, str], Path] = {}
    for path in sorted(matches, key=lambda path: len(path.parts)):
        shortest.setdefault((folders[path.parent], path.name), path)
    return sorted(shortest.values(), key=str)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _is_junk(path: Path) -> bool:
    return path.name.startswith(("._", ".DS_Store")) or bool(_JUNK & {part.lower() for part in path.parts})


def _word_for(status: os.stat_result) -> str:
    words = (
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISBLK, "a disk"),
        (stat.S_ISCHR, "a device that is no camera"),
    )
    return next((word for fits, word in words if fits(status.st_mode)), "no regular file")


def _first_of(left_out: Sequence[tuple[str, str]]) -> str | None:
    return f"for example, {left_out[0][0]} {left_out[0][1]}" if left_out else None
