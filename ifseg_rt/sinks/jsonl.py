"""Records and events as lines of JSON: every line is complete and valid, whatever the names and the encoding."""

from __future__ import annotations

import errno
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ifseg_rt.sinks.placing.files import AppendFile

if TYPE_CHECKING:
    from ifseg_rt.result import Result
    from ifseg_rt.sources.base import Event, Frame, Source


def record(
    source: Source,
    frame: Frame,
    result: Result,
    timings: Mapping[str, float],
    outputs: Mapping[str, str],
    *,
    latency_ms: float | None = None,
    dropped: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """What is said about one frame.

    Args:
        source: where it came from.
        frame: the frame.
        result: its labels.
        timings: milliseconds of every stage.
        outputs: the files that hold it, by role.
        latency_ms: milliseconds from its capture to its labels.
        dropped: frames of this source dropped so far, by cause; for a live source.

    Returns:
        ``source``, ``frame`` (number), ``time`` (seconds from the start, where known), ``captured`` (seconds since
        1970), ``size``, ``shares`` of the classes present, ``timings_ms``, ``latency_ms``, ``outputs``; ``damaged``
        where it is; ``connection`` and ``dropped`` for a live source.
    """
    height, width = result.labels.shape
    present = sorted(((share, name) for name, share in result.shares.items() if share > 0), reverse=True)
    fields: dict[str, Any] = {"source": source.name, "frame": frame.index}
    if frame.time is not None:
        fields["time"] = round(frame.time, 6)
    fields["captured"] = round(frame.taken, 6)
    fields["size"] = {"width": width, "height": height}
    fields["shares"] = {name: round(share, 6) for share, name in present}
    fields["timings_ms"] = {stage: round(value, 2) for stage, value in timings.items()}
    if latency_ms is not None:
        fields["latency_ms"] = round(latency_ms, 2)
    fields["outputs"] = dict(outputs)
    if frame.damaged:
        fields["damaged"] = True
    if source.is_live:
        fields["connection"] = frame.connection
        fields["dropped"] = dict(dropped or {})
    return fields


def event_record(source: str, event: Event) -> dict[str, Any]:
    """What is said about an event: ``event`` (its kind), ``source``, ``at`` (seconds since 1970), ``text``, details."""
    said = {"event": event.kind, "source": source, "at": round(event.taken, 6), "text": event.text}
    return {**said, **{key: value for key, value in event.details.items() if key not in said}}


def as_line(fields: Mapping[str, Any], *, ascii_only: bool = False) -> str:
    """One line of valid JSON with its end: no NaN, and file names that are no text as ``\\udcXX``.

    Args:
        fields: what JSON knows; anything else is written as text.
        ascii_only: escape every other letter.
    """
    try:
        text = json.dumps(fields, ensure_ascii=ascii_only, allow_nan=False, default=_plain)
    except (ValueError, TypeError):
        text = json.dumps(_finite(fields), ensure_ascii=ascii_only, default=_plain)
    if not ascii_only:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:  # a name with bytes that are not UTF-8
            return as_line(fields, ascii_only=True)
    return text + "\n"


class JsonLines:
    """Writes lines to a stream of text, each at once. When the stream fails it is left alone from then on.

    Args:
        stream: gives the stream, asked for every line: a progress bar on the same terminal replaces ``sys.stdout`` to
            stay below the lines. It may give ``None``, where there is none.

    Attributes:
        failed: why lines could not be written (``BrokenPipeError``: the reader has gone), or ``None``.
        written: how many lines were.
    """

    def __init__(self, stream: Callable[[], TextIO | None]) -> None:
        self._stream = stream
        self.failed: OSError | None = None
        self.written = 0

    def write(self, fields: Mapping[str, Any]) -> None:
        """Write one line; never raises because of the stream."""
        if self.failed is not None:
            return
        try:
            stream = self._stream()
            if stream is None:
                raise OSError(errno.EBADF, "there is no such stream")
            # Whoever reads JSON expects UTF-8; of any other encoding the letters that it shares with it are used.
            encoding = (getattr(stream, "encoding", None) or "utf-8").lower().replace("_", "-")
            stream.write(as_line(fields, ascii_only=encoding not in ("utf-8", "utf8", "utf-8-sig")))
            stream.flush()
            self.written += 1
        except OSError as error:
            self.failed = error
        except ValueError as error:  # closed by somebody
            self.failed = OSError(errno.EBADF, str(error))


class JsonLinesFile:
    """Writes lines to a file, every one whole; the file is made by the first.

    Args:
        path: the file.
        go_on: append to a file that is there; otherwise none may be.
    """

    def __init__(self, path: Path, *, go_on: bool = False) -> None:
        self.path = path
        self._go_on = go_on
        self._file: AppendFile | None = None

    def write(self, fields: Mapping[str, Any]) -> None:
        """Write one line.

        Raises:
            OSError: the file system refuses; the file ends with the line before.
        """
        if self._file is None:
            self._file = AppendFile(self.path, go_on=self._go_on)
        self._file.append(as_line(fields).encode("utf-8"))

    def close(self) -> None:
        """Close the file; may be called twice.

        Raises:
            OSError: the system could not keep what it took.
        """
        if self._file is not None:
            self._file.close()
            self._file = None


def _finite(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def _plain(value: Any) -> Any:  # noqa: ANN401
    item = getattr(value, "item", None)  # numbers of NumPy
    if callable(item):
        try:
            return _finite(item())
        except ValueError:
            return str(value)
    return str(value)
