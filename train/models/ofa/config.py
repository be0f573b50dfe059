"""The one frozen dataclass that a model is built from, and the published sizes."""

from __future__ import annotations

import math
import reprlib
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, NoReturn, get_args

from ifseg_rt.errors import CheckpointError

OFA_PROMPT = "what is the segmentation map of the image? object:"

Backbone = Literal["resnet", "efficientnet_lite2"]
ResamplePositions = Literal["above_native", "always"]
TokenizerKind = Literal["bpe", "words"]


# The relative text buckets end at a distance of 1023, two tokens short of OFA's position table.
MOST_BUCKETED_TOKENS = 1024

# Far beyond every published size; what is outside comes from a damaged file or a hostile one. The text buckets reach
# 255 to either side (spec 5).
_RANGES: dict[str, tuple[float, float]] = {
    "d_model": (1, 16384),
    "heads": (1, 1024),
    "ffn_dim": (1, 131072),
    "encoder_layers": (1, 128),
    "decoder_layers": (1, 128),
    "vocab_size": (5, 1_000_000),
    "max_text_positions": (3, 16384),
    "image_bucket": (1, 256),
    "grid": (1, 64),
    "token_bucket": (256, 1024),
    "readout_offset": (0, 1),
    "attn_scale_factor": (1e-6, 1e6),
    "dropout": (0, 0.999),
    "drop_path": (0, 0.999),
}
_FRACTIONS = ("attn_scale_factor", "dropout", "drop_path")
_LONGEST_TEXT, _MOST_BLOCKS = 1000, 100


@dataclass(frozen=True)
class ModelConfig:
    """Architecture of one model. Defaults are OFA's; spec section in brackets.

    Attributes:
        d_model: width D of both stacks.
        heads: attention heads; D must be a multiple.
        ffn_dim: hidden width of the feed-forward blocks.
        encoder_layers: number of encoder layers.
        decoder_layers: number of decoder layers.
        backbone: which image backbone; the rest of the model knows only its ``feature_dim``.
        backbone_blocks: bottlenecks per stage (ResNet only).
        vocab_size: rows of the token embedding table.
        max_text_positions: rows of the text position table [5].
        image_bucket: side of the image position table, 42 [5].
        grid: side of the native patch grid, 32 [0].
        token_bucket: half the number of relative text buckets [5].
        attn_scale_factor: queries are scaled by ``(factor * d) ** -0.5`` [6].
        dropout: dropout in adaptation [11.4].
        drop_path: largest stochastic depth rate in adaptation [11.4].
        causal: decoder rows see only earlier rows [7].
        readout_offset: decoder row that predicts patch 0. OFA reads row i for patch i, whose input is patch i-1
            [7, surprise 2]; 1 reads the row whose input is the patch itself.
        resample_positions: image positions are resampled from the native grid only for more than grid^2 patches
            (the reference) [5, surprise 4] or always.
        image_mean: mean per RGB channel of the unit-range image.
        image_std: standard deviation likewise.
        tokenizer: sub-words (OFA) or whole words (``micro``).
        prompt_prefix: text before the category names [2].
    """

    name: str
    d_model: int
    heads: int
    ffn_dim: int
    encoder_layers: int
    decoder_layers: int
    backbone: Backbone = "resnet"
    backbone_blocks: tuple[int, ...] = (3, 4, 6)
    vocab_size: int = 59458
    max_text_positions: int = 1026
    image_bucket: int = 42
    grid: int = 32
    token_bucket: int = 256
    attn_scale_factor: float = 2.0
    dropout: float = 0.1
    drop_path: float = 0.1
    causal: bool = True
    readout_offset: int = 0
    resample_positions: ResamplePositions = "above_native"
    image_mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    image_std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    tokenizer: TokenizerKind = "bpe"
    prompt_prefix: str = OFA_PROMPT

    def __post_init__(self) -> None:
        choices = {"backbone": Backbone, "resample_positions": ResamplePositions, "tokenizer": TokenizerKind}
        for field, kind in choices.items():
            if getattr(self, field) not in get_args(kind):
                self._refuse(field, f"one of {', '.join(get_args(kind))}")
        for field, (least, most) in _RANGES.items():
            numbers = (int, float) if field in _FRACTIONS else (int,)
            if type(getattr(self, field)) not in numbers or not least <= getattr(self, field) <= most:
                self._refuse(field, f"a {'' if field in _FRACTIONS else 'whole '}number from {least:g} to {most:g}")
        if type(self.causal) is not bool:
            self._refuse("causal", "true or false")
        for field in ("name", "prompt_prefix"):
            value = getattr(self, field)
            if type(value) is not str or len(value) > _LONGEST_TEXT or not (value.isprintable() or value == ""):
                self._refuse(field, f"a text of at most {_LONGEST_TEXT} characters in one line")
        for field, least in (("image_mean", -1e3), ("image_std", 1e-6)):
            value = getattr(self, field)
            if not _are_numbers(value, least) or len(value) != 3:
                self._refuse(field, f"three numbers from {least:g} to 1000")
        blocks = self.backbone_blocks
        if not (
            isinstance(blocks, tuple)
            and len(blocks) == (3 if self.backbone == "resnet" else 0)
            and all(type(n) is int and 1 <= n <= _MOST_BLOCKS for n in blocks)
        ):
            self._refuse("backbone_blocks", f"three numbers from 1 to {_MOST_BLOCKS} for a ResNet, else none")
        if self.d_model % self.heads:
            raise CheckpointError(f"model width {self.d_model} is not a multiple of its {self.heads} heads")
        if self.grid > self.image_bucket:
            self._refuse("grid", f"at most the image_bucket of {self.image_bucket}")

    def _refuse(self, field: str, expected: str) -> NoReturn:
        raise CheckpointError(
            f"{field} must be {expected}, found {reprlib.repr(getattr(self, field))}",
            hint="the checkpoint is damaged or was written by a newer version; update ifseg-rt",
        )

    @property
    def head_dim(self) -> int:
        return self.d_model // self.heads

    @property
    def max_prompt_tokens(self) -> int:
        """Longest prompt: the position table's rows, and the 1024 tokens that the text buckets reach across [5]."""
        return min(self.max_text_positions, MOST_BUCKETED_TOKENS)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for a checkpoint or JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Inverse of :meth:`to_dict`.

        Raises:
            CheckpointError: a field is unknown or missing.
        """
        known = {f.name for f in fields(cls)}
        unknown = sorted(str(key)[:60] for key in values if key not in known)
        if unknown:
            raise CheckpointError(
                f"the model configuration has unknown fields: {', '.join(unknown[:5])}",
                hint="the checkpoint was written by a newer version; update ifseg-rt",
            )
        try:
            plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            return cls(**plain)
        except TypeError as error:
            raise CheckpointError(f"the model configuration is incomplete: {error}") from error


def _are_numbers(values: object, least: float) -> bool:
    return isinstance(values, tuple) and all(
        type(value) in (int, float) and math.isfinite(value) and least <= value <= 1e3 for value in values
    )


def _ofa(name: str, d_model: int, heads: int, layers: tuple[int, int], blocks: tuple[int, ...]) -> ModelConfig:
    return ModelConfig(
        name=name, d_model=d_model, heads=heads, ffn_dim=4 * d_model,
        encoder_layers=layers[0], decoder_layers=layers[1], backbone_blocks=blocks,
    )  # fmt: skip


_TINY = _ofa("tiny", 256, 4, (4, 4), (3, 4, 6))

PRESETS: dict[str, ModelConfig] = {
    "tiny": _TINY,
    "medium": _ofa("medium", 512, 8, (4, 4), (3, 4, 23)),
    "base": _ofa("base", 768, 12, (6, 6), (3, 4, 23)),
    "large": _ofa("large", 1024, 16, (12, 12), (3, 8, 36)),
    "huge": _ofa("huge", 1280, 16, (24, 12), (3, 8, 36)),
    "mini": replace(_ofa("mini", 64, 4, (2, 2), (1, 1, 1)), ffn_dim=128),
    "micro": ModelConfig(
        name="micro",
        d_model=128,
        heads=2,
        ffn_dim=384,
        encoder_layers=2,
        decoder_layers=1,
        backbone="efficientnet_lite2",
        backbone_blocks=(),
        vocab_size=1200,
        causal=False,
        readout_offset=1,
        resample_positions="always",
        image_mean=(127 / 255, 127 / 255, 127 / 255),
        image_std=(128 / 255, 128 / 255, 128 / 255),
        tokenizer="words",
        prompt_prefix="",
    ),
}
