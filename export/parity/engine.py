"""Does the engine compute what the model computes? Measured where a GPU can run it, through the public run time.

From a checkpoint the reference is the float32 module in PyTorch; from an ONNX model it is that model in ONNX Runtime on
the CPU. Together with the comparison that every exported model carries this closes the chain PyTorch, ONNX, engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from export.parity.agreement import LabelAgreement
from export.parity.comparison import NOT_IN_ONNX_RUNTIME, Comparison, figures
from ifseg_rt.artifact.sidecar import Preprocess
from ifseg_rt.host.preprocess import Preprocessor
from ifseg_rt.machine import Machine
from ifseg_rt.segmenter import Segmenter
from ifseg_rt.tensorrt.compatibility import mismatches
from ifseg_rt.tensorrt.installed import TensorRt
from ifseg_rt.tensorrt.schema import EngineArtifact, EngineParity
from ifseg_rt.upsampling.labels import upsample_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from export.frozen.head import FrozenModel
    from export.pictures import Picture

# Probabilities below it say nothing: float32 softmax has rounded them.
_SMALLEST = 1e-12


@dataclass(frozen=True)
class Scores:
    """Of one picture: log-probabilities ``[n, C]`` before the refinement, and labels H x W after it."""

    log_probabilities: NDArray[np.float32]
    labels: NDArray[np.uint8] | NDArray[np.uint16]


Runner = Callable[["Picture"], Scores]


@dataclass(frozen=True, kw_only=True)
class EngineReport(Comparison):
    """Engine and reference compared; the logits as log-probabilities, which differ from them by a constant per patch.

    Attributes:
        reference: what the engine was compared with.
        device: the GPU.
    """

    reference: Literal["torch", "onnx"]
    device: str

    def record(self) -> EngineParity:
        """What the sidecar keeps."""
        return EngineParity(measured=self.parity, device=self.device)

    def check(self) -> None:
        """Refuses an engine that computes something else.

        Raises:
            ParityError: a difference beyond tolerance, or values that are not finite.
        """
        self.check_errors("engine", "build it", f" on {self.device}")


def why_not_compared(
    engine: EngineArtifact, tensorrt: TensorRt, machine: Machine, *, reference: Literal["torch", "onnx"]
) -> str | None:
    """Why this engine cannot be compared here, in words for the report, or ``None``."""
    if machine.gpu is None:
        return f"no GPU here can run it: {machine.reason}"
    unfit = mismatches(engine, tensorrt, machine, machine.gpu)
    if unfit:
        return f"the GPU here cannot run it: {unfit[0]}"
    if not engine.model.takes_single_frames:
        return f"it takes {engine.model.batch} pictures per call, the run time single ones"
    if reference == "onnx" and engine.model.precision in NOT_IN_ONNX_RUNTIME:
        return f"ONNX Runtime does not run {engine.model.precision} on the CPU; build it from the checkpoint to compare"
    return None


def compare_engine(
    engine: Runner,
    reference: Runner,
    pictures: Sequence[Picture],
    names: Sequence[str],
    *,
    kind: Literal["torch", "onnx"],
    precision: str,
    device: str,
) -> EngineReport:
    """Runs all pictures through the reference, then through the engine, and compares.

    Args:
        engine: runs the engine.
        reference: runs what it is compared with.
        pictures: at least one.
        names: category names.
        kind: what the reference is.
        precision: of the engine's graph.
        device: the GPU's name.
    """
    expected = [reference(picture) for picture in pictures]
    found = [engine(picture) for picture in pictures]
    labels = LabelAgreement(names)
    for (name, _), one, other in zip(pictures, expected, found, strict=True):
        labels.add(name, one.labels, other.labels)
    first, second = ([scores.log_probabilities for scores in both] for both in (expected, found))
    return EngineReport(**figures(first, second, labels, precision), reference=kind, device=device)


@contextmanager
def run_model(path: Path, *, device: str = "auto") -> Iterator[Runner]:
    """Runs an ONNX model or an engine through :class:`ifseg_rt.Segmenter`."""
    with Segmenter(path, refine=False, device=device) as plain, Segmenter(path, device=device) as refined:

        def run(picture: Picture) -> Scores:
            planes = np.asarray(plain(picture[1]).probabilities, dtype=np.float32)
            rows = planes.reshape(len(planes), -1).T
            return Scores(np.log(np.maximum(rows, _SMALLEST)), refined(picture[1]).labels)

        yield run


def run_module(module: FrozenModel, preprocess: Preprocess) -> Runner:
    """Runs the frozen module in PyTorch, picture by picture."""
    import torch

    prepare = Preprocessor(preprocess)

    def run(picture: Picture) -> Scores:
        frame = picture[1]
        image = torch.from_numpy(prepare(frame, "bgr"))
        with torch.inference_mode():
            probabilities, logits = module(image)[:2]
        rows = logits[0].float().softmax(-1).clamp(min=_SMALLEST).log().numpy()
        return Scores(rows, upsample_labels(probabilities[0].numpy(), *frame.shape[:2]))

    return run
