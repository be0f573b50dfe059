"""Backbones as they are exported: BatchNorm folded, features as rows ``[B * n, Cf]``."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.frozen.attention import set_weight
from export.frozen.precision import WideLayerNorm, low_linear
from export.frozen.resampling import bilinear_matrix
from train.models.ofa.efficientnet import EfficientNetLite2
from train.models.ofa.resnet import Bottleneck, FrozenBatchNorm2d, ResNet

_BN_EPS = 1e-5


def fold_batch_norm(conv: nn.Conv2d, norm: FrozenBatchNorm2d) -> nn.Conv2d:
    """One convolution with bias that computes ``norm(conv(x))`` (spec 4.2)."""
    gain = norm.weight.double() / torch.sqrt(norm.running_var.double() + _BN_EPS)
    folded = nn.Conv2d(
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, groups=conv.groups  # type: ignore[arg-type]
    )  # fmt: skip
    before = torch.zeros_like(gain) if conv.bias is None else conv.bias.double()
    shift = norm.bias.double() + (before - norm.running_mean.double()) * gain
    set_weight(folded.weight, conv.weight.double() * gain[:, None, None, None])
    set_weight(folded.bias, shift)
    return folded


class FrozenBottleneck(nn.Module):
    """A ResNet bottleneck with every BatchNorm folded away."""

    def __init__(self, block: Bottleneck) -> None:
        super().__init__()
        self.conv1 = fold_batch_norm(block.conv1, block.bn1)
        self.conv2 = fold_batch_norm(block.conv2, block.bn2)
        self.conv3 = fold_batch_norm(block.conv3, block.bn3)
        shortcut = block.downsample
        self.shortcut = None if shortcut is None else fold_batch_norm(shortcut[0], shortcut[1])  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.conv2(F.relu(self.conv1(x))))
        return F.relu(self.conv3(y) + (x if self.shortcut is None else self.shortcut(x)))


class FrozenResNet(nn.Module):
    """OFA's ResNet without BatchNorms: ``[B, 3, H, W]`` -> ``[B, 1024, h, w]``."""

    def __init__(self, net: ResNet) -> None:
        super().__init__()
        self.stem = fold_batch_norm(net.conv1, net.bn1)
        stages = (net.layer1, net.layer2, net.layer3)
        self.blocks = nn.Sequential(*(FrozenBottleneck(block) for stage in stages for block in stage))  # type: ignore[union-attr]

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.blocks(F.max_pool2d(F.relu(self.stem(images)), 3, 2, 1))
        return out


class FrozenEfficientNet(nn.Module):
    """``micro``'s trunk and neck. Its convolutions carry no BatchNorm any more.

    The stride-32 features are enlarged by two small constant matrices instead of a Resize: ONNX Runtime releases differ
    in which versions of that operator have a CUDA kernel, and without one the features would travel to the host and
    back in the middle of the network.
    """

    enlarge_rows: Tensor
    enlarge_columns: Tensor

    def __init__(self, net: EfficientNetLite2, size: tuple[int, int], dtype: torch.dtype) -> None:
        super().__init__()
        self.net = copy.deepcopy(net)
        self.net.stem.to(dtype)
        self.net.stages.to(dtype)
        norm, linear, activation = net.neck
        # Standardised and normalised in float32: the channels' scales differ a hundredfold.
        self.neck = nn.Sequential(WideLayerNorm(norm, dtype), low_linear(linear, dtype), activation)  # type: ignore[arg-type]
        del self.net.neck
        rows, columns = (bilinear_matrix(-(-side // 32), -(-side // 16)).to(dtype) for side in size)
        self.register_buffer("enlarge_rows", rows)
        self.register_buffer("enlarge_columns", columns.t().contiguous())

    def forward(self, images: Tensor) -> Tensor:
        stride8, stride16, stride32 = self.net.trunk(images)
        enlarged = torch.matmul(self.enlarge_rows, torch.matmul(stride32, self.enlarge_columns))
        pooled = [F.avg_pool2d(stride8, 2, ceil_mode=True), F.max_pool2d(stride8, 2, ceil_mode=True)]
        joined = torch.cat([*pooled, stride16, enlarged], dim=1)
        out: Tensor = self.neck(self.net.standardise(_rows(joined).float()))
        return out


class FrozenRows(nn.Module):
    """Any other backbone ``[B, 3, H, W] -> [B, Cf, h, w]``, its features as rows."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        return _rows(self.net(images))


def feature_rows(backbone: nn.Module, size: tuple[int, int], dtype: torch.dtype = torch.float32) -> nn.Module:
    """The frozen copy of a backbone for one input size: ``[B, 3, H, W]`` -> ``[B * n, Cf]``, both of ``dtype``."""
    if isinstance(backbone, EfficientNetLite2):
        return FrozenEfficientNet(backbone, size, dtype)
    if isinstance(backbone, ResNet):
        return FrozenRows(FrozenResNet(backbone).to(dtype))
    return FrozenRows(copy.deepcopy(backbone).to(dtype))


def _rows(features: Tensor) -> Tensor:
    return features.flatten(2).transpose(1, 2).flatten(0, 1)
