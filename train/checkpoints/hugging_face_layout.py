"""Hugging Face OFA folders: tensor names to fairseq's, and the settings of ``config.json`` (spec 12.3)."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from ifseg_rt.errors import CheckpointError
from train.checkpoints.weights_folder import read_json
from train.models.ofa.config import ModelConfig

Value = TypeVar("Value")

# Hugging Face name -> fairseq name, per layer.
_RENAMES = (
    (re.compile(r"^(encoder\.layers\.\d+\.)self_attn_mid_layer_norm\."), r"\1attn_ln."),
    (re.compile(r"^(decoder\.layers\.\d+\.)self_attn_mid_layer_norm\."), r"\1self_attn_ln."),
    (re.compile(r"^(decoder\.layers\.\d+\.)cross_attn_mid_layer_norm\."), r"\1cross_attn_ln."),
    (re.compile(r"^(decoder\.layers\.\d+\.)cross_attn\."), r"\1encoder_attn."),
    (re.compile(r"^(decoder\.layers\.\d+\.)cross_attn_layer_norm\."), r"\1encoder_attn_layer_norm."),
    (re.compile(r"\.ffn_layer_norm\."), ".ffn_layernorm."),
)


def from_hugging_face(state: Mapping[str, Value]) -> dict[str, Value]:
    """Renames the tensors of a Hugging Face model; names that already are fairseq's stay."""
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
    settings = read_json(path)
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
        f"{name} (expected {value}, found {reprlib.repr(settings[name])})"
        for name, value in expected.items()
        if settings.get(name, value) != value
    ]
    if wrong:
        raise CheckpointError(
            f"{path} does not fit the weights beside it or is not OFA's: {', '.join(wrong[:5])}",
            hint="download the whole folder again, from one model",
        )
