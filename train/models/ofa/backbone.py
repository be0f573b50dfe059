"""Chooses the image backbone; everything else knows only ``feature_dim`` and the stride of 16."""

from __future__ import annotations

from train.models.ofa.config import ModelConfig
from train.models.ofa.efficientnet import EfficientNetLite2
from train.models.ofa.resnet import ResNet


def build_backbone(config: ModelConfig) -> ResNet | EfficientNetLite2:
    """Module ``[B, 3, H, W] -> [B, feature_dim, ceil(H/16), ceil(W/16)]``."""
    if config.backbone == "efficientnet_lite2":
        return EfficientNetLite2()
    return ResNet(config.backbone_blocks)
