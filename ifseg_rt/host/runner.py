"""A frame on the host: NumPy and OpenCV around a run time that takes and gives host arrays."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ifseg_rt.artifact.schema import LOGITS, NEIGHBOURS, PROBABILITIES
from ifseg_rt.drawing import overlay as draw
from ifseg_rt.errors import UsageError, not_finite
from ifseg_rt.frames import ColorOrder, as_color_frame
from ifseg_rt.host.preprocess import Preprocessor
from ifseg_rt.host.refinement import refine, softmax
from ifseg_rt.options import Averaging, Extras
from ifseg_rt.result import Result
from ifseg_rt.upsampling.labels import upsample_confidence, upsample_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ifseg_rt.artifact.sidecar import Artifact
    from ifseg_rt.host.network import HostNetwork


class HostRunner:
    """Pre-processing, network, averaging and up-sampling, one after the other.

    Threads take turns on pre-processing and network; averaging and up-sampling run beside them.

    Args:
        artifact: the verified sidecar.
        network: the loaded model; closed with this runner.
        averaging: how class probabilities are averaged.
        extras: what else is made of every frame.
        gpu: number of the GPU that the network runs on, ``None`` for the CPU.
    """

    def __init__(
        self,
        artifact: Artifact,
        network: HostNetwork,
        averaging: Averaging,
        extras: Extras | None = None,
        *,
        gpu: int | None = None,
    ) -> None:
        self.network = network
        self.gpu = gpu
        self._extras = extras or Extras()
        self._names = artifact.category_names
        self._colors = tuple(category.color for category in artifact.categories)
        self.preprocess = Preprocessor(artifact.preprocess)
        self._grid = artifact.grid
        self._averaging = averaging
        self._lock = threading.Lock()
        self._closed = False

    @property
    def device(self) -> str:
        """See :class:`ifseg_rt.runner.Runner`."""
        return self.network.device

    @property
    def fallback_reason(self) -> str | None:
        """See :class:`ifseg_rt.runner.Runner`."""
        return self.network.fallback_reason

    def run(self, frame: Any, color: ColorOrder) -> Result:  # noqa: ANN401
        """See :meth:`ifseg_rt.runner.Runner.run`; ``frame`` is an array or a PIL picture on the host."""
        picture, order = as_color_frame(frame, color)
        outputs = self._outputs_needed()
        with self._lock:
            if self._closed:
                raise UsageError("this Segmenter is closed", hint="open a new one, or call it inside the with block")
            started = time.perf_counter()
            image = self.preprocess(picture, order)
            prepared = time.perf_counter()
            arrays = self.network.run(image, outputs)
            inferred = time.perf_counter()
        scores, probabilities = self._scores(arrays)
        refined = time.perf_counter()
        labels = upsample_labels(scores, *picture.shape[:2])
        finished = time.perf_counter()
        seconds = {
            "preprocess": prepared - started,
            "inference": inferred - prepared,
            "refinement": refined - inferred,
            "upsampling": finished - refined,
        }
        confidence = painted = None
        if self._extras.confidence:
            confidence = upsample_confidence(probabilities, labels)
            before, finished = finished, time.perf_counter()
            seconds["confidence"] = finished - before
        if self._extras.overlay is not None:
            painted = draw.overlay(picture, labels, self._colors, order, self._extras.overlay)
            before, finished = finished, time.perf_counter()
            seconds["overlay"] = finished - before
        seconds["total"] = finished - started
        timings = {stage: value * 1e3 for stage, value in seconds.items()}
        return Result(
            labels,
            probabilities,
            self._names,
            self._colors,
            order,
            timings,
            picture=painted,
            known_confidence=confidence,
        )

    def run_on_device(self, frame: Any, color: ColorOrder, stream: Any) -> NoReturn:  # noqa: ANN401
        """See :meth:`ifseg_rt.runner.Runner.run_on_device`; always refused."""
        reason = f": {self.fallback_reason}" if self.fallback_reason else ""
        raise UsageError(
            f"results stay on a device only where frames are worked on there; this Segmenter runs on the host{reason}",
            hint="call the segmenter itself for a result on the host",
        )

    def close(self) -> None:
        """See :meth:`ifseg_rt.runner.Runner.close`."""
        with self._lock:
            self._closed = True
            self.network.close()

    def _outputs_needed(self) -> tuple[str, ...]:
        if self._averaging.settings is None:
            return (LOGITS,)
        if self._averaging.baked:
            return (PROBABILITIES,)
        return (LOGITS, NEIGHBOURS)

    def _scores(
        self, arrays: list[NDArray[np.float32] | NDArray[np.int32]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What the labels are taken from, and the probabilities; both C x h x w."""
        if not np.isfinite(arrays[0]).all():
            raise not_finite(self.device)
        first = np.asarray(arrays[0][0], dtype=np.float32)
        if self._averaging.settings is None:
            return self._on_grid(first), self._on_grid(softmax(first))
        if len(arrays) == 1:
            return first, first
        k, rounds = self._averaging.settings
        refined = self._on_grid(refine(softmax(first), np.asarray(arrays[1][0], dtype=np.int32), k=k, rounds=rounds))
        return refined, refined

    def _on_grid(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.ascontiguousarray(rows.T).reshape(-1, *self._grid)
