"""Decides which files a run writes, before it begins, so that none of them destroys anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ifseg_rt.options import KINDS
from ifseg_rt.sinks.base import Sink, SinkError
from ifseg_rt.sinks.choice import Wanted, check_kinds, endings_of, sink_for
from ifseg_rt.sinks.jsonl import JsonLinesFile
from ifseg_rt.sinks.placing.files import Place, in_words
from ifseg_rt.sinks.placing.folder import OutputFolder
from ifseg_rt.sinks.placing.single import SingleOutput, means_folder
from ifseg_rt.sources.base import Source

__all__ = ["KINDS", "Outputs"]

DEFAULT_FOLDER = Path("ifseg-rt-output")


def _nobody(text: str) -> None:
    pass


class Outputs:
    """Where the results of a run go.

    Args:
        output: what the user asked for: a video file, a picture file or a folder; ``None`` writes pictures and videos
            to ``ifseg-rt-output`` and nothing for a live source.
        sources: everything that will be read.
        save: which kinds of :data:`KINDS`; ``None`` saves overlay and labels of pictures, the overlay of videos.
        audio: copy the sound track of files into the overlay video.
        note: told what a user should know, one line each.

    Attributes:
        folder: the folder written to; ``None`` where there is none.
        failed: what kept ``results.jsonl`` from being written whole, or ``None``.

    Raises:
        UsageError: the output cannot hold what the sources give, or would overwrite one of them or a foreign file.
        SinkError: the folder cannot be written to, or another run is writing into it.
        DeviceError: pycocotools is needed and missing.
    """

    def __init__(
        self,
        output: str | None,
        sources: Sequence[Source],
        *,
        save: frozenset[str] | None = None,
        audio: bool = False,
        note: Callable[[str], None] = _nobody,
    ) -> None:
        self._wanted = Wanted(save, audio, note)
        self._note = note
        self._single: SingleOutput | None = None
        self._in: OutputFolder | None = None
        self._results: JsonLinesFile | None = None
        self._stems: dict[int, str] = {}
        self.failed: SinkError | None = None
        check_kinds(save)
        if save is not None and "coco" in save:
            from ifseg_rt.sinks.coco import require_pycocotools

            require_pycocotools()
        if output is None:
            self._serves = [source for source in sources if not source.is_live]
            if self._serves:
                self._in = OutputFolder(DEFAULT_FOLDER, note)
        elif means_folder(output):
            self._serves = list(sources)
            self._in = OutputFolder(Path(output), note)
        else:
            self._serves = list(sources)
            self._single = SingleOutput(Path(output), sources, self._wanted)
        self.folder = self._in.path if self._in is not None else None
        if self._in is not None:
            self._reserve(self._in)
            self._results = self._in.results()

    @property
    def saves(self) -> bool:
        """Whether any file is written."""
        return self._single is not None or self._in is not None

    @property
    def draws(self) -> bool:
        """Whether an overlay will be asked for."""
        if self._single is not None:
            return "overlay" in self._single.places
        return self._in is not None and (self._wanted.save is None or "overlay" in self._wanted.save)

    def open(self, source: Source) -> Sink | None:
        """The sink for one source, or ``None`` when nothing of it is saved."""
        if self._single is not None:
            return sink_for(source, self._single.places, self._wanted)
        if self._in is None or not any(source is served for served in self._serves):
            return None
        endings = endings_of(source, self._wanted.kinds(source))
        stem = self._stems.pop(id(source), None)
        if stem is None:  # opened a second time
            stem = self._in.reserve(source.stem, list(endings.values()))
        places = {kind: Place(self._in.path / f"{stem}{ending}") for kind, ending in endings.items()}
        return sink_for(source, places, self._wanted)

    def record(self, fields: Mapping[str, Any]) -> None:
        """Add a line to ``results.jsonl`` of the output folder, where there is one.

        When that fails it is said once, :attr:`failed` is set, and the file ends with the line before.
        """
        if self._results is None or self.failed is not None:
            return
        try:
            self._results.write(fields)
        except OSError as error:
            self._fail(error)

    def close(self) -> None:
        """Finish ``results.jsonl`` and let other runs into the folder; may be called twice."""
        try:
            if self._results is not None:
                self._results.close()
        except OSError as error:
            self._fail(error)
        finally:
            self._results = None
            if self._in is not None:
                self._in.close()

    def _fail(self, error: OSError) -> None:
        if self._results is not None and self.failed is None:
            self.failed = SinkError(f"cannot write {self._results.path}: {in_words(error)}; it ends early")
            self._note(str(self.failed))

    def _reserve(self, folder: OutputFolder) -> None:
        numbered = []
        for source in self._serves:
            endings = list(endings_of(source, self._wanted.kinds(source)).values())
            stem = folder.reserve(source.stem, endings)
            self._stems[id(source)] = stem
            if stem != source.stem and endings:
                numbered.append(stem + endings[0])
        if numbered:
            names = "a name" if len(numbered) == 1 else f"{len(numbered)} names"
            self._note(f"{names} in {folder.path} could not be used as it is: {numbered[0]}, for one, is new")
