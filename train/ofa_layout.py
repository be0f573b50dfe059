"""OFA weights from fairseq files and Hugging Face folders: key maps, and the configuration read off the tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ifseg_rt.errors import CheckpointError
from train.config import PRESETS, ModelConfig

if TYPE_CHECKING:
    from torch import Tensor

    from train.model import IFSegModel

OFA_ROWS, ADAPTED_ROWS = 59457, 59458  # spec 1
_SEGMENTATION_STD = 0.02  # spec 11.5

# Hugging Face name -> fairseq name, per layer (spec 12.3).
_RENAMES = (
    (re.compile(r"^(encoder\.layers\.\d+\.)self_attn_mid_layer_norm\."), r"\1attn_ln."),
    (re.compile(r"^(decoder\.layers\.\d+\.)self_attn_mid_layer_norm\."), r"\1self_attn_ln."),
    (re.compile(r"^(decoder\.layers\.\d+\.)cross_attn_mid_layer_norm\."), r"\1cross_attn_ln."),
    (re.compile(r"^(decoder\.layers\.\d+\.)cross_attn\."), r"\1encoder_attn."),
    (re.compile(r"^(decoder\.layers\.\d+\.)cross_attn_layer_norm\."), r"\1encoder_attn_layer_norm."),
    (re.compile(r"\.ffn_layer_norm\."), ".ffn_layernorm."),
)


def from_hugging_face(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames the tensors of ``pytorch_model.bin`` to fairseq's names."""
    renamed = {}
    for name, tensor in state.items():
        for pattern, target in _RENAMES:
            name = pattern.sub(target, name)
        renamed[name] = tensor
    return renamed


def _count(state: Mapping[str, Any], pattern: str) -> int:
    found = [int(m.group(1)) for m in (re.match(pattern, name) for name in state) if m]
    return 1 + max(found, default=-1)


def infer_config(state: Mapping[str, Tensor], origin: str) -> ModelConfig:
    """The configuration that fits the tensors; a published size where one does, else one named ``custom``.

    Raises:
        CheckpointError: the tensors are not OFA's, or those of another language's vocabulary.
    """
    anchors = (
        "encoder.embed_tokens.weight",
        "encoder.layers.0.fc1.weight",
        "encoder.layers.0.self_attn.c_attn",
        "decoder.layers.0.fc1.weight",
        "encoder.image_proj.weight",
    )
    missing = [name for name in anchors if name not in state]
    if missing:
        raise CheckpointError(
            f"{origin} is not an OFA checkpoint: it has no {', '.join(missing)}",
            hint="expected ofa_<size>.pt, an adapted IFSeg checkpoint, a Hugging Face OFA folder, or our own ckpt.pt",
        )
    rows, width = state["encoder.embed_tokens.weight"].shape
    if rows not in (OFA_ROWS, ADAPTED_ROWS):
        raise CheckpointError(
            f"{origin} has {rows} token embeddings, English OFA has {OFA_ROWS} (or {ADAPTED_ROWS} adapted)",
            hint="this is another vocabulary, such as the Chinese OFA; use an English OFA model",
        )
    config = ModelConfig(
        name="custom",
        d_model=width,
        heads=state["encoder.layers.0.self_attn.c_attn"].shape[0],
        ffn_dim=state["encoder.layers.0.fc1.weight"].shape[0],
        encoder_layers=_count(state, r"encoder\.layers\.(\d+)\."),
        decoder_layers=_count(state, r"decoder\.layers\.(\d+)\."),
        backbone_blocks=tuple(_count(state, rf"encoder\.embed_images\.layer{i}\.(\d+)\.") for i in (1, 2, 3)),
        vocab_size=rows,
    )
    for name, preset in PRESETS.items():
        if replace(preset, name="custom", vocab_size=rows) == config:
            return replace(config, name=name)
    return config


def fill_model(model: IFSegModel, state: Mapping[str, Tensor], origin: str, *, seed: int) -> bool:
    """Copies the tensors into the model; makes the segmentation tables where the file has none (spec 11.5).

    Args:
        model: built from :func:`infer_config` (or from our own checkpoint's configuration).
        state: tensors under fairseq's names; those that the segmentation path does not use are ignored.
        origin: what to call the file in errors.
        seed: for the tables that an un-adapted OFA lacks.

    Returns:
        Whether the file brought segmentation tables, i.e. is adapted.

    Raises:
        CheckpointError: tensors are missing, mis-shaped or not finite; up to five are named.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    target = model.state_dict()
    is_segmentation = re.compile(r"decoder\.(embed_seg_positions|seg_rel_pos_table_list|seg_pos_ln)\b")
    adapted = any(is_segmentation.match(name) for name in state)
    problems: list[str] = []
    values: dict[str, Tensor] = {}
    for name, expected in target.items():
        if name not in state and not adapted and is_segmentation.match(name):
            if "seg_pos_ln" in name:
                values[name] = expected  # a new LayerNorm: 1 and 0
            else:
                values[name] = torch.randn(expected.shape, generator=generator) * _SEGMENTATION_STD
        elif name not in state:
            problems.append(f"{name} (missing)")
        elif state[name].shape != expected.shape:
            problems.append(f"{name} (expected {list(expected.shape)}, found {list(state[name].shape)})")
        elif not bool(torch.isfinite(state[name]).all()):
            problems.append(f"{name} (holds values that are not finite)")
        else:
            values[name] = state[name].to(expected.dtype)
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise CheckpointError(
            f"{origin} does not fit the model: {', '.join(problems[:5])}{more}",
            hint="the file is incomplete or of another architecture; download it again",
        )
    model.load_state_dict(values)
    return adapted
