"""Hugging Face OFA folders: tensor names to fairseq's, and the settings of ``config.json`` (spec 12.3)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ifseg_rt.errors import CheckpointError
from train.models.ofa.config import ModelConfig

if TYPE_CHECKING:
    from torch import Tensor

CONFIG_FILE, WEIGHTS_FILE = "config.json", "pytorch_model.bin"

# Hugging Face name -> fairseq name, per layer.
_RENAMES = (
    (re.compile(r"^(encoder\.layers\.\d+\.)self_attn_mid_layer_norm\."), r"\1attn_ln."),
    (re.compile(r"^(decoder\.layers\.\d+\.)self_attn_mid_layer_norm\."), r"\1self_attn_ln."),
    (re.compile(r"^(decoder\.layers\.\d+\.)cross_attn_mid_layer_norm\."), r"\1cross_attn_ln."),
    (re.compile(r"^(decoder\.layers\.\d+\.)cross_attn\."), r"\1encoder_attn."),
    (re.compile(r"^(decoder\.layers\.\d+\.)cross_attn_layer_norm\."), r"\1encoder_attn_layer_norm."),
    (re.compile(r"\.ffn_layer_norm\."), ".ffn_layernorm."),
)


def from_hugging_face(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames the tensors of ``pytorch_model.bin``; names that already are fairseq's stay."""
    renamed = {}
    for name, tensor in state.items():
        for pattern, target in _RENAMES:
            name = pattern.sub(target, name)
        renamed[name] = tensor
    return renamed


def check_settings(path: Path, config: ModelConfig) -> None:
    """Compares ``config.json`` with what the tensors say, and with what the segmentation path is built for.

    The tensors decide; a setting that leaves no trace in their shapes (``attn_scale_factor``) must not differ
    silently. Settings that the file leaves out are not compared.

    Raises:
        CheckpointError: the file is no JSON object, or settings differ; they are named.
    """
    try:
        settings: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not readable as JSON", hint="download the folder again") from error
    if not isinstance(settings, dict):
        raise CheckpointError(f"{path} holds no settings", hint="download the folder again")
    expected = {
        "d_model": config.d_model,
        "encoder_layers": config.encoder_layers,
        "decoder_layers": config.decoder_layers,
        "encoder_attention_heads": config.heads,
        "decoder_attention_heads": config.heads,
        "encoder_ffn_dim": config.ffn_dim,
        "decoder_ffn_dim": config.ffn_dim,
        "token_bucket_size": config.token_bucket,
        "image_bucket_size": config.image_bucket,
        "attn_scale_factor": config.attn_scale_factor,
        "entangle_position_embedding": False,
        "scale_embedding": False,
    }
    wrong = [
        f"{name} (expected {value}, found {settings[name]})"
        for name, value in expected.items()
        if settings.get(name, value) != value
    ]
    if wrong:
        raise CheckpointError(
            f"{path} does not fit the weights beside it or is not OFA's: {', '.join(wrong[:5])}",
            hint="download the whole folder again, from one model",
        )
