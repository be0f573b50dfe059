"""Which other models are timed, without importing anything that could build them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Peer:
    """One model.

    Attributes:
        title: for the table.
        side: its input height and width, as its authors run it.
        classes: the number of categories it was made for, where its words cannot be chosen.
    """

    title: str
    side: int
    classes: int | None = None


PEERS: dict[str, Peer] = {
    "groupvit": Peer("GroupViT", 224),
    "clipseg": Peer("CLIPSeg rd64", 352),
    "maskclip": Peer("CLIP ViT-B/16, MaskCLIP-style", 512),
    "segformer-b0": Peer("SegFormer-b0", 512, classes=150),
    "segformer-b2": Peer("SegFormer-b2", 512, classes=150),
}
