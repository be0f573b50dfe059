"""One line of JSON for every frame."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ifseg_rt.errors import IfsegError

if TYPE_CHECKING:
    from ifseg_rt.result import Result
    from ifseg_rt.sources.base import Frame, Source


def record(
    source: Source, frame: Frame, result: Result, timings: Mapping[str, float], outputs: Mapping[str, str]
) -> dict[str, Any]:
    """What is said about one frame: source, number, size, shares of the classes present, times, files.

    Times are in milliseconds.
    """
    height, width = result.labels.shape
    present = sorted(((share, name) for name, share in result.shares.items() if share > 0), reverse=True)
    fields: dict[str, Any] = {
        "source": source.name,
        "frame": frame.index,
        "size": {"width": width, "height": height},
        "shares": {name: round(share, 6) for share, name in present},
        "timings_ms": {stage: round(value, 2) for stage, value in timings.items()},
        "outputs": dict(outputs),
    }
    if source.is_live:
        fields["dropped"] = source.dropped
    return fields


class JsonLines:
    """Writes records to a stream, each line at once."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, fields: Mapping[str, Any]) -> None:
        """Write one record.

        Raises:
            BrokenPipeError: the reader of a pipe has gone.
        """
        self._stream.write(json.dumps(fields, ensure_ascii=False) + "\n")
        self._stream.flush()


class JsonLinesFile:
    """Writes records to a file, which is started anew by the first one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None

    def write(self, fields: Mapping[str, Any]) -> None:
        """Write one record.

        Raises:
            IfsegError: the file system refuses.
        """
        try:
            if self._file is None:
                self._file = self._path.open("w", encoding="utf-8")
            JsonLines(self._file).write(fields)
        except OSError as error:
            raise IfsegError(f"cannot write {self._path}: {error.strerror}") from error

    def close(self) -> None:
        """Close the file; may be called twice."""
        if self._file is not None:
            self._file.close()
            self._file = None
