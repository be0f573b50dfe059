"""OFA weights under fairseq's names: the configuration read off the tensors, and the tensors into the model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ifseg_rt.errors import CheckpointError
from train.checkpoints.sound_tensors import bytes_of, unlike
from train.models.ofa.config import PRESETS, ModelConfig

if TYPE_CHECKING:
    from torch import Tensor

    from train.models.ofa.model import IFSegModel

OFA_ROWS, ADAPTED_ROWS = 59457, 59458  # spec 1
_SEGMENTATION_STD = 0.02  # spec 11.5


def _count(state: Mapping[str, Any], pattern: str) -> int:
    found = [int(m.group(1)) for m in (re.match(pattern, name) for name in state) if m and len(m.group(1)) < 9]
    return 1 + max(found, default=-1)


def _layers(state: Mapping[str, Any], stack: str) -> int:
    """Layers of a stack; the bias tables count too, else a file without its last layer passes for a smaller model."""
    return max(
        _count(state, rf"{stack}\.{part}\.(\d+)\.")
        for part in ("layers", "token_rel_pos_table_list", "image_rel_pos_table_list", "seg_rel_pos_table_list")
    )


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
            hint="expected ofa_<size>.pt, an adapted IFSeg checkpoint, a Hugging Face OFA folder "
            "(safetensors or .bin), or our own ckpt.pt",
        )
    ranks = {name: state[name].dim() for name in anchors}
    if any(rank != (1 if name.endswith("c_attn") else 2) for name, rank in ranks.items()):
        found = ", ".join(f"{name} {list(state[name].shape)[:8]}" for name in anchors)
        raise CheckpointError(f"{origin} is not an OFA checkpoint: unexpected shapes {found}")
    rows, width = state["encoder.embed_tokens.weight"].shape
    if rows not in (OFA_ROWS, ADAPTED_ROWS):
        raise CheckpointError(
            f"{origin} has {rows} token embeddings, English OFA has {OFA_ROWS} (or {ADAPTED_ROWS} adapted)",
            hint="this is another vocabulary, such as the Chinese OFA; use an English OFA model",
        )
    blocks = tuple(_count(state, rf"encoder\.embed_images\.layer{i}\.(\d+)\.") for i in (1, 2, 3))
    if 0 in blocks:
        raise CheckpointError(f"{origin} is incomplete: it has no encoder.embed_images.layer{blocks.index(0) + 1}")
    config = ModelConfig(
        name="custom",
        d_model=width,
        heads=state["encoder.layers.0.self_attn.c_attn"].shape[0],
        ffn_dim=state["encoder.layers.0.fc1.weight"].shape[0],
        encoder_layers=_layers(state, "encoder"),
        decoder_layers=_layers(state, "decoder"),
        backbone_blocks=blocks,
        vocab_size=rows,
    )
    for name, preset in PRESETS.items():
        if replace(preset, name="custom", vocab_size=rows) == config:
            return replace(config, name=name)
    return config


def check_weight(config: ModelConfig, state: Mapping[str, Tensor], origin: str) -> None:
    """Refuses a configuration whose model would take far more memory than the tensors that shall fill it.

    A few bytes of settings, or tensors that share their numbers, can ask for any size.

    Raises:
        CheckpointError: it does.
    """
    d, layers, narrow = config.d_model, config.encoder_layers + config.decoder_layers, 2  # bytes of half precision
    tables = config.vocab_size + config.max_text_positions + config.image_bucket**2 + config.grid**2
    relative = (2 * config.image_bucket - 1) ** 2 * config.encoder_layers
    needed = narrow * (d * tables + layers * (4 * d * d + 2 * d * config.ffn_dim) + relative * config.heads)
    held = bytes_of(state.values())
    if needed > 2 * held + (64 << 20):
        raise CheckpointError(
            f"{origin} does not fit its own configuration: {needed >> 20} MB of weights are needed, it holds "
            f"{held >> 20} MB",
            hint="the file is incomplete or of another architecture; download it again",
        )


def fill_model(model: IFSegModel, state: Mapping[str, Tensor], origin: str, *, seed: int | None) -> bool:
    """Copies the tensors into the model; makes the segmentation tables where an OFA file has none (spec 11.5).

    Args:
        model: built from :func:`infer_config` (or from our own checkpoint's configuration).
        state: plain tensors under fairseq's names; those that the segmentation path does not use are ignored.
        origin: what to call the file in errors.
        seed: for the tables that an un-adapted OFA lacks; ``None`` for a file that must have them.

    Returns:
        Whether the file brought segmentation tables, i.e. is adapted.

    Raises:
        CheckpointError: tensors are missing, mis-shaped, not finite or of whole numbers; up to five are named.
    """
    import torch

    generator = torch.Generator().manual_seed(seed or 0)
    target = model.state_dict()
    is_segmentation = re.compile(r"decoder\.(embed_seg_positions|seg_rel_pos_table_list|seg_pos_ln)\b")
    adapted = seed is None or any(is_segmentation.match(name) for name in state)
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
        elif (problem := unlike(state[name], expected)) is not None:
            problems.append(f"{name} ({problem})")
        else:
            values[name] = state[name].to(expected.dtype)
    if seed is None:  # our own file holds what the model has, and nothing else
        problems += [f"{name[:100]} (too many)" for name in state if name not in target]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise CheckpointError(
            f"{origin} does not fit the model: {', '.join(problems[:5])}{more}",
            hint="the file is incomplete or of another architecture; download it again",
        )
    model.load_state_dict(values)
    return adapted
