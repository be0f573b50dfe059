"""Where does a graph in low precision first go astray? Compared layer by layer with the float32 module.

The exporter keeps the parameters' names, so a node that reads ``encoder_layers.1.attention.out.weight`` computes what
the submodule ``encoder_layers.1.attention.out`` computes: both sides are observed there, on the same picture.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export.graph.static_int8 import WIDENED
from export.graph.writer import default_opset, write_onnx
from export.parity.comparison import RELATIVE_TOLERANCE
from ifseg_rt.artifact.schema import IMAGE
from ifseg_rt.host.preprocess import Preprocessor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from export.frozen.head import FrozenModel
    from export.pictures import Picture
    from export.settings import ExportSettings
    from train.models.base import SegmentationModel

Activations = dict[str, "NDArray[np.float32]"]

_PARAMETER = ".weight"
_ERRORS_ONLY = 3


@dataclass(frozen=True)
class Divergence:
    """The first layer that is off.

    Attributes:
        layer: path of the submodule.
        error: root mean square of its error over that of its values; infinite where values are not finite.
        before: the largest such error of any layer before it.
        tolerance: what a layer may be off by.
    """

    layer: str
    error: float
    before: float
    tolerance: float

    def __str__(self) -> str:
        if self.error > self.tolerance:
            return (
                f"the first layer to diverge is {self.layer}: off by {self.error:.2%} of its size, "
                f"{self.before:.2%} before it"
            )
        return (
            f"no single layer diverges by more than {self.tolerance:.1%}; the largest step is at {self.layer}: "
            f"{self.error:.2%}, {self.before:.2%} before it"
        )


def explain_divergence(model: SegmentationModel, settings: ExportSettings, picture: Picture) -> Divergence:
    """Exports ``model`` once more and finds the first layer that diverges on one picture.

    Args:
        model: in evaluation mode on the CPU, its vocabulary set.
        settings: those of the export that failed.
        picture: what to look at.

    Raises:
        IfsegError: the model cannot be frozen or written.
    """
    from export.freeze_model import freeze_model
    from export.sidecar import preprocess_of

    image = Preprocessor(preprocess_of(model.config, settings.size))(picture[1], "bgr")
    batch = np.repeat(image, settings.batch, axis=0)
    expected = module_activations(freeze_model(model, settings, precision="fp32"), batch)
    low = freeze_model(model, settings)
    if settings.precision == "bf16":  # ONNX Runtime's CPU provider has no such convolution
        found = module_activations(low, batch)
    else:
        with tempfile.TemporaryDirectory(prefix="ifseg-rt-") as scratch:
            graph = Path(scratch) / "model.onnx"
            write_onnx(low, graph, opset=settings.opset or default_opset(settings.precision))
            found = graph_activations(graph, batch)
    return first_divergence(expected, found, RELATIVE_TOLERANCE[settings.precision])


def first_divergence(
    expected: Mapping[str, NDArray[np.float32]], found: Mapping[str, NDArray[np.float32]], tolerance: float
) -> Divergence:
    """The first layer, in the order of ``expected``, that is off by more than ``tolerance``; else the largest step.

    Layers that only one side has are passed over.
    """
    before = 0.0
    steps: list[Divergence] = []
    for layer, values in expected.items():
        other = found.get(layer)
        if other is None or other.size != values.size:
            continue
        error = _relative_error(values, other.reshape(values.shape))
        step = Divergence(layer, error, before, tolerance)
        if error > tolerance:
            return step
        steps.append(step)
        before = max(before, error)
    return max(steps, key=lambda step: step.error - step.before)


def module_activations(module: FrozenModel, image: NDArray[np.float32]) -> Activations:
    """What every submodule with a weight gives for ``image`` ``[B, 3, H, W]``, in order of computation."""
    import torch

    seen: Activations = {}

    def observe(name: str) -> Any:  # noqa: ANN401 - a hook
        def hook(_: object, inputs: object, output: torch.Tensor) -> None:
            seen[name] = output.float().numpy()

        return hook

    handles = [
        submodule.register_forward_hook(observe(name))
        for name, submodule in module.named_modules()
        if isinstance(getattr(submodule, "weight", None), torch.Tensor)
    ]
    try:
        with torch.inference_mode():
            module(torch.from_numpy(image))
    finally:
        for handle in handles:
            handle.remove()
    return seen


def graph_activations(onnx_path: Path, image: NDArray[np.float32]) -> Activations:
    """The same from a graph, by ONNX Runtime: results of all nodes that read a parameter, as additional outputs."""
    import onnx
    import onnxruntime

    # Without the data of a large model: the copy lies in the same folder and refers to the same data file.
    graph = onnx.load(str(onnx_path), load_external_data=False)
    outputs: dict[str, str] = {}
    for node in graph.graph.node:
        read = (name.removesuffix(WIDENED) for name in node.input)
        layer = next((name for name in read if name.endswith(_PARAMETER)), None)
        if layer is not None:
            outputs.setdefault(layer[: -len(_PARAMETER)], node.output[0])
    known = {value.name for value in graph.graph.output}
    for name in outputs.values():
        if name not in known:
            graph.graph.output.append(onnx.ValueInfoProto(name=name))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    # Fused nodes would take the results that are looked at with them.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    probed = onnx_path.with_name(f".{onnx_path.stem}.{os.getpid()}.probe.onnx")
    try:
        onnx.save(graph, str(probed))
        session = onnxruntime.InferenceSession(str(probed), options, providers=["CPUExecutionProvider"])
    finally:
        probed.unlink(missing_ok=True)
    values = session.run(list(outputs.values()), {IMAGE: image})
    return {layer: np.asarray(value, dtype=np.float32) for layer, value in zip(outputs, values, strict=True)}


def _relative_error(expected: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    size = float(np.sqrt(np.square(expected, dtype=np.float64).mean()))
    with np.errstate(all="ignore"):
        error = float(np.sqrt(np.square(expected - found, dtype=np.float64).mean()))
    if not np.isfinite(error):
        return float("inf")
    return error / size if size > 0 else error
