"""Segments in COCO's format, for the tools that read it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from ifseg_rt.errors import DeviceError
from ifseg_rt.sinks.base import SinkError
from ifseg_rt.sinks.placing.files import AppendFile, Place, beside, in_words, new_file, put_in_place
from ifseg_rt.sinks.placing.names import partial_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ifseg_rt.result import Result
    from ifseg_rt.sources.base import Frame


def require_pycocotools() -> None:
    """Check before any work that pycocotools is there.

    Raises:
        DeviceError: it is not.
    """
    try:
        import pycocotools.mask  # noqa: F401
    except ImportError as error:
        raise DeviceError("COCO output needs pycocotools", hint='pip install "ifseg-rt[coco]"') from error


class CocoSink:
    """Writes one JSON file for a source: ``images``, ``categories``, and an annotation for each category present.

    Segments are run-length codes as pycocotools makes them; ``category_id`` is the category index, as in label maps;
    ``image_id`` is the frame number. Until the end, frames are kept as lines in ``NAME.partial.jsonl``, every line
    whole, so that a long video needs no memory and survives a crash.

    Args:
        place: the JSON file.
        source: name of the source, kept as ``file_name``.
        still: whether the source is one picture.
    """

    draws = False

    def __init__(self, place: Place, source: str, *, still: bool) -> None:
        self._place = place
        self._source = source
        self._still = still
        self._lines: AppendFile | None = None
        self._categories: Sequence[str] = ()
        self._count = 0
        self._failure: SinkError | None = None
        self._left_at: dict[str, str] = {}

    @property
    def left_at(self) -> Mapping[str, str]:
        """See :meth:`ifseg_rt.sinks.base.Sink.left_at`."""
        return self._left_at

    def write(self, frame: Frame, result: Result, drawn: NDArray[np.uint8] | None) -> dict[str, str]:
        """See :meth:`ifseg_rt.sinks.base.Sink.write`."""
        if self._failure is not None:
            raise self._failure
        self._categories = result.categories
        line = json.dumps(self._described(frame, result)) + "\n"
        try:
            if self._lines is None:
                self._lines = AppendFile(partial_name(self._place.path, ".jsonl"))
            self._lines.append(line.encode("ascii"))
        except OSError as error:
            self._failure = SinkError(f"cannot write {self._place.path}: {in_words(error)}")
            raise self._failure from error
        return {"coco": str(self._place.path)}

    def close(self, *, complete: bool = True) -> None:
        """See :meth:`ifseg_rt.sinks.base.Sink.close`."""
        lines, self._lines = self._lines, None
        if lines is None:
            return
        place = self._place if complete and self._failure is None else Place(self._place.path)
        try:
            lines.close()
            if lines.size == 0:
                lines.path.unlink()
                return
            made = beside(place.path)
            try:
                self._gather(lines, new_file(made))
                put_in_place(made, place)
            finally:
                with suppress(OSError):
                    made.unlink(missing_ok=True)
            lines.path.unlink()
        except OSError as error:
            self._left_at[str(place.path)] = str(lines.path)
            raise SinkError(
                f"cannot finish {place.path}: {in_words(error)}", hint=f"its frames are in {lines.path}"
            ) from error

    def _described(self, frame: Frame, result: Result) -> dict[str, Any]:
        from pycocotools import mask

        height, width = result.labels.shape
        image = {"id": frame.index, "file_name": self._source, "width": width, "height": height}
        if not self._still:
            image["frame"] = frame.index
            if frame.time is not None:
                image["time"] = round(frame.time, 6)
        annotations = []
        for index in np.unique(result.labels):
            code = mask.encode(np.asfortranarray(np.equal(result.labels, index).astype(np.uint8)))
            self._count += 1
            annotations.append(
                {
                    "id": self._count,
                    "image_id": frame.index,
                    "category_id": int(index),
                    "segmentation": {"size": [height, width], "counts": code["counts"].decode("ascii")},
                    "area": int(mask.area(code)),
                    "bbox": [float(value) for value in mask.toBbox(code)],
                    "iscrowd": 0,
                }
            )
        return {"image": image, "annotations": annotations}

    def _gather(self, lines: AppendFile, descriptor: int) -> None:
        """Turn the lines into one document, line by line."""
        categories = [{"id": index, "name": name} for index, name in enumerate(self._categories)]
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write('{"info": {"description": "ifseg-rt"}, "categories": ' + json.dumps(categories))
            for key in ("images", "annotations"):
                file.write(f',\n"{key}": [')
                separator = "\n"
                with lines.path.open(encoding="ascii") as frames:
                    for line in frames:
                        held = json.loads(line)
                        for item in [held["image"]] if key == "images" else held["annotations"]:
                            file.write(separator + json.dumps(item))
                            separator = ",\n"
                file.write("\n]")
            file.write("}\n")
