"""Decides which files a run writes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ifseg_rt.errors import IfsegError, UsageError
from ifseg_rt.sinks.base import Sink
from ifseg_rt.sinks.jsonl import JsonLinesFile
from ifseg_rt.sinks.pictures import PictureSink
from ifseg_rt.sinks.videos import CODECS, VideoSink
from ifseg_rt.sources.base import Source

DEFAULT_FOLDER = Path("ifseg-rt-output")
_PICTURES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_RESULTS = "results.jsonl"
_RATE_WHEN_UNSTATED = 25.0  # for a video whose header gives none


class Outputs:
    """Where the results of a run go.

    Args:
        output: what the user asked for: a video file, a picture file or a folder; ``None`` writes pictures and videos
            to ``ifseg-rt-output`` and nothing for a camera.
        sources: everything that will be read.

    Raises:
        UsageError: the output cannot hold what the sources give, or would overwrite one of them.
    """

    def __init__(self, output: str | None, sources: Sequence[Source]) -> None:
        self._file: Path | None = None
        self.folder: Path | None = None
        self._taken: set[str] = set()
        self._results: JsonLinesFile | None = None
        if output is None:
            if any(not source.is_live for source in sources):
                self.folder = DEFAULT_FOLDER
        elif _means_folder(output):
            self.folder = Path(output)
        else:
            self._file = _checked_file(Path(output), sources)
        self._make_folder()

    @property
    def saves(self) -> bool:
        """Whether any file is written."""
        return self._file is not None or self.folder is not None

    def open(self, source: Source) -> Sink | None:
        """The sink for one source, or ``None`` when nothing of it is saved."""
        if self._file is not None:
            path = self._file
            if source.is_still:
                return PictureSink(path, path.with_name(f"{path.stem}_labels.png"))
            return VideoSink(path, _rate(source))
        if self.folder is None or (source.is_live and self.folder is DEFAULT_FOLDER):
            return None
        stem = self._free_stem(_stem(source))
        if source.is_still:
            return PictureSink(self.folder / f"{stem}_overlay.jpg", self.folder / f"{stem}_labels.png")
        return VideoSink(self.folder / f"{stem}_overlay.mp4", _rate(source))

    def note(self, fields: dict[str, Any]) -> None:
        """Add a frame's record to ``results.jsonl`` of the output folder, where there is one."""
        if self.folder is None:
            return
        if self._results is None:
            self._results = JsonLinesFile(self.folder / _RESULTS)
        self._results.write(fields)

    def close(self) -> None:
        """Finish ``results.jsonl``; may be called twice."""
        if self._results is not None:
            self._results.close()

    def _free_stem(self, stem: str) -> str:
        free, number = stem, 1
        while free in self._taken:  # a/1.jpg and b/1.jpg must not overwrite each other
            number += 1
            free = f"{stem}-{number}"
        self._taken.add(free)
        return free

    def _make_folder(self) -> None:
        folder = self.folder if self.folder is not None else self._file.parent if self._file is not None else None
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise IfsegError(f"cannot make the output folder {folder}: {error.strerror}") from error
        if not os.access(folder, os.W_OK):
            raise IfsegError(f"cannot write into the output folder {folder}: no permission")


def _stem(source: Source) -> str:
    return Path(source.name).stem.replace(" ", "_") if source.is_live else Path(source.name).stem


def _rate(source: Source) -> float | None:
    if source.is_live:
        return None  # the sink measures it
    return source.fps if source.fps is not None else _RATE_WHEN_UNSTATED


def _means_folder(output: str) -> bool:
    return output.endswith(("/", os.sep)) or Path(output).is_dir() or Path(output).suffix == ""


def _checked_file(path: Path, sources: Sequence[Source]) -> Path:
    suffix = path.suffix.lower()
    if suffix not in _PICTURES and suffix not in CODECS:
        raise UsageError(
            f"--output {path}: expected a folder, a video ({' '.join(CODECS)}) or a picture (.jpg), found {suffix}",
            hint=f"for a folder of that name: --output {path}/",
        )
    if len(sources) != 1:
        raise UsageError(f"--output {path} is one file, but there are {len(sources)} sources", hint="name a folder")
    source = sources[0]
    if suffix in CODECS and source.is_still:
        raise UsageError(f"--output {path} is a video, but {source.name} is a picture", hint="use .jpg or .png")
    if suffix in _PICTURES and not source.is_still:
        kind = "camera" if source.is_live else "video"
        raise UsageError(f"--output {path} is a picture, but {source.name} is a {kind}", hint="use .mp4")
    if path.exists() and not source.is_live and path.samefile(source.name):
        raise UsageError(f"--output {path} would overwrite the source")
    return path
