"""What must be there as a whole before it can be read: kept in a temporary file, and read as a file of its kind."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from ifseg_rt.errors import SourceError
from ifseg_rt.sources.animations import AnimationSource
from ifseg_rt.sources.base import Frame, Source
from ifseg_rt.sources.connection import Items
from ifseg_rt.sources.content.kinds import Kind, kind_of
from ifseg_rt.sources.pictures import PictureSource
from ifseg_rt.sources.settings import SourceSettings
from ifseg_rt.sources.videos import VideoSource

_LARGEST = 1 << 30  # bytes; no picture is larger, and a server that never ends would fill the disk
_BY_OPENCV = ("WebP", "AVIF")  # animations that FFmpeg does not read


def file_sources(path: Path, kind: Kind, name: str, settings: SourceSettings) -> list[Source]:
    """The sources for one file under another name than its own; several for a file of pages.

    Raises:
        SourceError: it is nothing that can be labelled.
    """
    if kind.family == "other":
        raise SourceError(f"{name} is neither a picture nor a video that can be read, but of the kind {kind.name}")
    if kind.family != "picture":
        source = (AnimationSource if kind.name in _BY_OPENCV else VideoSource)(path, settings)
        source.name = name
        return [source]
    pages = range(1, kind.pages + 1) if kind.pages > 1 else (None,)
    pictures = [PictureSource(path, settings, page=page) for page in pages]
    for picture, page in zip(pictures, pages, strict=True):
        picture.name = name if page is None else f"{name} page {page}"
    return list(pictures)


def spooled(chunks: Iterable[bytes], name: str, settings: SourceSettings) -> tuple[list[Source], Callable[[], None]]:
    """Keep everything that comes in a temporary file; gives its sources and what removes the file.

    Raises:
        SourceError: too much comes, the disk is full, or it is nothing that can be labelled.
    """
    folder = Path(tempfile.mkdtemp(prefix="ifseg-"))

    def remove() -> None:
        shutil.rmtree(folder, ignore_errors=True)

    path, size = folder / "picture", 0
    try:
        with path.open("wb") as file:
            for chunk in chunks:
                size += len(chunk)
                if size > _LARGEST:
                    raise SourceError(f"{name} does not end: a picture has at most {_LARGEST} bytes")
                file.write(chunk)
        if size == 0:
            raise SourceError(f"{name} is empty: expected a picture or a video")
        return file_sources(path, kind_of(path), name, settings), remove
    except OSError as error:
        remove()
        raise SourceError(f"cannot keep {name} in {folder.parent}: {error.strerror}") from error
    except BaseException:
        remove()
        raise


def chained(sources: Iterable[Source]) -> Items:
    """The items of several sources, one after the other, with one count of frames."""
    index = 0
    for source in sources:
        try:
            for item in source.items():
                if isinstance(item, Frame):
                    item = replace(item, index=index)
                    index += 1
                yield item
        finally:
            source.close()
