"""What a user would take instead, built from ``transformers`` with random weights: time needs no download.

Every model is cut to what a frame costs: text embeddings of the categories are computed once and given, images enter
normalised, class scores ``[1, C, h, w]`` come out at the model's own resolution. That is the kindest reading of each:
what its users run by default often does more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.peers.facts import PEERS
from ifseg_rt.errors import UsageError

if TYPE_CHECKING:
    from types import ModuleType


class GroupViT(nn.Module):
    """Image tower of GroupViT: 8 groups, their assignment to patches, and their likeness to every text."""

    texts: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        library = transformers()
        whole = library.GroupViTModel(library.GroupViTConfig())
        self.vision, self.projection = whole.vision_model, whole.visual_projection
        self.register_buffer("texts", _texts(classes, whole.config.projection_dim))

    def forward(self, image: Tensor) -> Tensor:
        found = self.vision(image, output_attentions=True)
        grouping = None
        for attention in found.attentions:  # [1, groups, patches], then [1, groups, groups]
            grouping = attention if grouping is None else attention @ grouping
        groups = self.projection(found.last_hidden_state.flatten(0, 1))
        likeness = F.normalize(groups, dim=-1) @ self.texts.t()
        scores = likeness.t()[None] @ grouping
        side = int(scores.shape[-1] ** 0.5)
        return scores.unflatten(2, (side, side))


class ClipSeg(nn.Module):
    """CLIPSeg rd64: one look at the image, then its decoder once per text, all texts as one batch."""

    texts: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        library = transformers()
        vision = {"image_size": 352, "patch_size": 16}
        config = library.CLIPSegConfig(vision_config=vision, reduce_dim=64, use_complex_transposed_convolution=True)
        whole = library.CLIPSegForImageSegmentation(config)
        self.vision, self.decoder, self.levels = whole.clip.vision_model, whole.decoder, config.extract_layers
        self.register_buffer("texts", _texts(classes, config.projection_dim))

    def forward(self, image: Tensor) -> Tensor:
        states = self.vision(image, output_hidden_states=True).hidden_states
        every = tuple(states[level + 1].expand(len(self.texts), -1, -1) for level in self.levels)
        return self.decoder(every, self.texts).logits[None]


class MaskClip(nn.Module):
    """CLIP ViT-B/16 as MaskCLIP-style methods use it: values of the last attention, projected, against every text."""

    texts: Tensor

    def __init__(self, classes: int, side: int) -> None:
        super().__init__()
        library = transformers()
        config = library.CLIPVisionConfig(image_size=side, patch_size=16, projection_dim=512)
        whole = library.CLIPVisionModelWithProjection(config)
        vision = getattr(whole, "vision_model", whole)
        self.embeddings, self.norm_before = vision.embeddings, vision.pre_layrnorm
        *layers, self.last = vision.encoder.layers
        self.layers = nn.ModuleList(layers)
        self.norm_after, self.projection = vision.post_layernorm, whole.visual_projection
        self.side = side // 16
        self.register_buffer("texts", _texts(classes, config.projection_dim))

    def forward(self, image: Tensor) -> Tensor:
        x = self.norm_before(self.embeddings(image))
        for layer in self.layers:
            x = layer(x, attention_mask=None)
            x = x[0] if isinstance(x, tuple) else x
        attention = self.last.self_attn
        values = attention.out_proj(attention.v_proj(self.last.layer_norm1(x)))[:, 1:]
        features = F.normalize(self.projection(self.norm_after(values)), dim=-1)
        return (features @ self.texts.t()).transpose(1, 2).unflatten(2, (self.side, self.side))


class SegFormer(nn.Module):
    """SegFormer with its head: a fixed list of categories, a quarter of the input's resolution."""

    def __init__(self, classes: int, **shape: Any) -> None:  # noqa: ANN401 - as SegformerConfig takes them
        super().__init__()
        library = transformers()
        self.whole = library.SegformerForSemanticSegmentation(library.SegformerConfig(num_labels=classes, **shape))

    def forward(self, image: Tensor) -> Tensor:
        scores: Tensor = self.whole(image).logits
        return scores


def _segformer_b2(classes: int) -> nn.Module:
    sizes = {"depths": [3, 4, 6, 3], "hidden_sizes": [64, 128, 320, 512], "decoder_hidden_size": 768}
    return SegFormer(classes, **sizes)


_BUILDERS: dict[str, Callable[[int], nn.Module]] = {
    "groupvit": GroupViT,
    "clipseg": ClipSeg,
    "maskclip": lambda classes: MaskClip(classes, PEERS["maskclip"].side),
    "segformer-b0": SegFormer,
    "segformer-b2": _segformer_b2,
}


def transformers() -> ModuleType:
    """Return the library.

    Raises:
        UsageError: it is not installed; it is needed for this comparison and nothing else.
    """
    try:
        import transformers as library
    except ImportError:
        raise UsageError(
            "the peers are built from the package transformers, which is not installed", hint="pip install transformers"
        ) from None
    library.logging.set_verbosity_error()
    return library


def build_peer(name: str, classes: int) -> nn.Module:
    """Return a peer with random weights, always the same, in eval mode.

    Args:
        name: a key of :data:`benchmarks.peers.facts.PEERS`.
        classes: number of categories, for those whose words can be chosen.

    Raises:
        UsageError: transformers is not installed.
    """
    torch.manual_seed(0)
    return _BUILDERS[name](PEERS[name].classes or classes).eval().requires_grad_(False)


def _texts(classes: int, width: int) -> Tensor:
    return F.normalize(torch.randn(classes, width), dim=-1)
