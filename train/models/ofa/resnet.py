"""OFA's image backbone: ResNet v1.5 bottlenecks, three stages, frozen BatchNorm (spec 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_EXPANSION = 4
_PLANES = (64, 128, 256)
FEATURE_DIM = _PLANES[-1] * _EXPANSION
_BN_EPS = 1e-5


class FrozenBatchNorm2d(nn.Module):
    """BatchNorm whose statistics and affine terms are constants (buffers, never trained)."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=_BN_EPS)


class Bottleneck(nn.Module):
    """1x1 - 3x3 (carries the stride) - 1x1 with a projected shortcut in the first block of a stage."""

    def __init__(self, inputs: int, planes: int, stride: int, *, project: bool) -> None:
        super().__init__()
        outputs = planes * _EXPANSION
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = FrozenBatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = FrozenBatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, outputs, 1, bias=False)
        self.bn3 = FrozenBatchNorm2d(outputs)
        self.downsample = (
            nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), FrozenBatchNorm2d(outputs))
            if project
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """``[B, 3, H, W]`` -> ``[B, 1024, ceil(H/16), ceil(W/16)]``."""

    feature_dim = FEATURE_DIM

    def __init__(self, blocks: Sequence[int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = FrozenBatchNorm2d(64)
        channels = 64
        for index, (planes, count) in enumerate(zip(_PLANES, blocks, strict=True), start=1):
            stage: list[nn.Module] = []
            for i in range(count):
                stride = 2 if i == 0 and index > 1 else 1
                stage.append(Bottleneck(channels, planes, stride, project=i == 0))
                channels = planes * _EXPANSION
            self.add_module(f"layer{index}", nn.Sequential(*stage))

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(images)))
        x = F.max_pool2d(x, 3, 2, 1)
        for index in range(1, len(_PLANES) + 1):
            x = getattr(self, f"layer{index}")(x)
        return x
