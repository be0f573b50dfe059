"""One mask for every category: black and white PNG files in a folder of their own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ifseg_rt.sinks.base import SinkError
from ifseg_rt.sinks.placing.files import Place, beside, in_words, write_whole
from ifseg_rt.sinks.placing.names import file_stems

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ifseg_rt.result import Result
    from ifseg_rt.sources.base import Frame


class MasksSink:
    """Writes ``CATEGORY.png``, 255 where the pixel has the category and 0 elsewhere, for the categories present.

    A folder appears when all of its masks are written.

    Args:
        folder: gives the folder of a frame by its index; it must not exist. A missing last parent is made.
    """

    draws = False
    left_at: Mapping[str, str] = {}

    def __init__(self, folder: Callable[[int], Path]) -> None:
        self._folder = folder
        self._stems: dict[tuple[str, ...], tuple[str, ...]] = {}

    def write(self, frame: Frame, result: Result, drawn: NDArray[np.uint8] | None) -> dict[str, str]:
        """See :meth:`ifseg_rt.sinks.base.Sink.write`."""
        folder = self._folder(frame.index)
        if result.categories not in self._stems:
            self._stems[result.categories] = file_stems(result.categories)
        stems = self._stems[result.categories]
        made = beside(folder)
        try:
            folder.parent.mkdir(exist_ok=True)
            made.mkdir()
            for index in np.unique(result.labels):
                encoded, content = cv2.imencode(".png", np.equal(result.labels, index).astype(np.uint8) * 255)
                if not encoded:
                    raise SinkError(f"cannot write {folder}: encoding failed")
                write_whole(Place(made / f"{stems[index]}.png"), content.tobytes())
            made.rename(folder)
        except OSError as error:
            raise SinkError(f"cannot write {folder}: {in_words(error)}") from error
        except cv2.error as error:
            raise SinkError(f"cannot write {folder}: {error.err}") from error
        finally:
            with suppress(OSError):
                if made.exists():
                    shutil.rmtree(made)
        return {"masks": str(folder)}

    def close(self, *, complete: bool = True) -> None:
        """Every folder is complete once it is there."""
