"""The engine: a frame in, a labelled frame out. It knows the artifact and nothing else about the model."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from ifseg_rt.artifact import Artifact, read_artifact
from ifseg_rt.backends import open_backend
from ifseg_rt.errors import ArtifactError, DeviceError, UsageError
from ifseg_rt.frames import as_color_frame, color_order
from ifseg_rt.labels import upsample_labels
from ifseg_rt.preprocess import Preprocessor
from ifseg_rt.refinement import refine, softmax
from ifseg_rt.result import Result

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LOG = logging.getLogger(__name__)
DEVICES = ("auto", "cpu", "cuda")


class Segmenter:
    """Segments frames with an exported model.

    One segmenter may be shared by any number of threads: they take turns on the device, and up-sampling runs beside it.

    Args:
        path: the ``.onnx`` model; its sidecar ``.json`` lies beside it.
        refine: ``True`` averages class probabilities over similar patches as baked at export (spec 9); ``(k, rounds)``
            does it with other settings; ``False`` labels from the raw logits (spec 8).
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        threads: CPU threads of the run time; ``None`` for its own choice.
        color: channel order of the frames, unless a call says otherwise: ``"bgr"`` (OpenCV's) or ``"rgb"``.

    Raises:
        ArtifactError: the model or its sidecar is missing, foreign, edited, or made for batches.
        DeviceError: the inference run time or the device is missing or refuses to work.
        UsageError: an argument cannot be meant.

    Example:
        >>> with Segmenter("model.onnx") as segmenter:
        ...     result = segmenter(frame)
        ...     road = result.mask("road")
    """

    def __init__(
        self,
        path: str | Path,
        *,
        refine: bool | tuple[int, int] = True,
        device: str = "auto",
        threads: int | None = None,
        color: str = "bgr",
    ) -> None:
        self._color = color_order(color)
        if device not in DEVICES:
            raise UsageError(f"device must be one of {', '.join(DEVICES)}, found {device!r}")
        if threads is not None and threads < 1:
            raise UsageError(f"threads must be at least 1, found {threads}")
        self.path = Path(path)
        self.artifact: Artifact = read_artifact(self.path)
        if self.artifact.batch != 1:
            raise ArtifactError(
                f"{self.path} was exported for batches of {self.artifact.batch} frames; expected single frames",
                hint="export it again with --batch 1",
            )
        self.refinement = _refinement_settings(refine, self.artifact)
        self._colors = tuple(category.color for category in self.artifact.categories)
        self._lock = threading.Lock()
        self._closed = False
        self._preprocess = Preprocessor(self.artifact.preprocess)
        self._backend = open_backend(self.path, self.artifact, device=device, threads=threads)
        _LOG.info("%s runs on %s", self.path, self._backend.device)

    @classmethod
    def default(
        cls,
        *,
        refine: bool | tuple[int, int] = True,
        device: str = "auto",
        threads: int | None = None,
        color: str = "bgr",
    ) -> Segmenter:
        """A segmenter with the model shipped inside the package; arguments as for :class:`Segmenter`.

        Raises:
            ArtifactError: this installation carries no model.
        """
        return cls(default_model_path(), refine=refine, device=device, threads=threads, color=color)

    @property
    def categories(self) -> tuple[str, ...]:
        """Names in label order."""
        return self.artifact.category_names

    @property
    def device(self) -> str:
        """Where the model really runs: ``"cpu"`` or ``"cuda"``."""
        return self._backend.device

    @property
    def fallback_reason(self) -> str | None:
        """Why ``"auto"`` did not take the GPU although the run time supports one, or ``None``."""
        return self._backend.fallback_reason

    def __call__(self, frame: Any, color: str | None = None) -> Result:  # noqa: ANN401
        """Segment one frame.

        Args:
            frame: uint8 H x W x 3, grey H x W or H x W x 1, H x W x 4 (alpha ignored), any strides; or a PIL picture.
            color: channel order of this frame, if not the segmenter's.

        Returns:
            The result at the frame's own resolution.

        Raises:
            SourceError: the frame is empty, of another type or shape.
            UsageError: the segmenter is closed, or ``color`` is unknown.
            DeviceError: the device failed.
        """
        order = self._color if color is None else color_order(color)
        picture, order = as_color_frame(frame, order)
        outputs = self._outputs_needed()
        with self._lock:
            if self._closed:
                raise UsageError("this Segmenter is closed", hint="open a new one, or call it inside the with block")
            started = time.perf_counter()
            image = self._preprocess(picture, order)
            prepared = time.perf_counter()
            arrays = self._backend.run(image, outputs)
            inferred = time.perf_counter()
        scores, probabilities = self._scores(arrays)
        refined = time.perf_counter()
        labels = upsample_labels(scores, *picture.shape[:2])
        finished = time.perf_counter()
        timings = {
            "preprocess": prepared - started,
            "inference": inferred - prepared,
            "refinement": refined - inferred,
            "upsampling": finished - refined,
            "total": finished - started,
        }
        return Result(
            labels=labels,
            probabilities=probabilities,
            categories=self.categories,
            colors=self._colors,
            color=order,
            timings={stage: seconds * 1e3 for stage, seconds in timings.items()},
        )

    def close(self) -> None:
        """Wait for a running call and free the model. May be called again."""
        with self._lock:
            self._closed = True
            self._backend.close()

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _outputs_needed(self) -> tuple[str, ...]:
        if self.refinement is None:
            return ("logits",)
        if self.refinement == _baked(self.artifact):
            return ("probabilities",)
        return ("logits", "neighbours")

    def _scores(
        self, arrays: list[NDArray[np.float32] | NDArray[np.int32]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What the labels are taken from, and the probabilities; both C x h x w."""
        if not np.isfinite(arrays[0]).all():
            raise DeviceError(
                f"the model computed values that are not finite on {self.device}",
                hint="run it with --device cpu; if that helps, the precision is too low for this model",
            )
        first = np.asarray(arrays[0][0], dtype=np.float32)
        if self.refinement is None:
            return self._on_grid(first), self._on_grid(softmax(first))
        if len(arrays) == 1:
            return first, first
        k, rounds = self.refinement
        refined = self._on_grid(refine(softmax(first), np.asarray(arrays[1][0], dtype=np.int32), k=k, rounds=rounds))
        return refined, refined

    def _on_grid(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.ascontiguousarray(rows.T).reshape(-1, *self.artifact.grid)


def default_model_path() -> Path:
    """The model shipped inside the package.

    Raises:
        ArtifactError: this installation carries none.
    """
    path = Path(__file__).parent / "assets" / "micro.onnx"
    if not path.is_file():
        raise ArtifactError(
            f"this installation carries no default model: expected {path}",
            hint="install ifseg-rt again, or name a model: --model model.onnx",
        )
    return path


def _baked(artifact: Artifact) -> tuple[int, int]:
    return artifact.refinement.neighbours, artifact.refinement.rounds


def _refinement_settings(refine: bool | tuple[int, int], artifact: Artifact) -> tuple[int, int] | None:
    if isinstance(refine, bool):
        return _baked(artifact) if refine else None
    try:
        k, rounds = (int(value) for value in refine)
    except (TypeError, ValueError):
        raise UsageError(f"refine must be True, False or (k, rounds), found {refine!r}") from None
    most = artifact.refinement.max_neighbours
    if not 1 <= k <= most:
        raise UsageError(f"refinement takes 1 to {most} neighbours with this model, found {k}")
    if rounds < 0:
        raise UsageError(f"refinement takes 0 or more rounds, found {rounds}")
    return k, rounds
