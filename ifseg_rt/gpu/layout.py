"""Where everything of one frame lies in GPU memory: offsets and sizes, decided before anything is allocated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from ifseg_rt.artifact.schema import IMAGE, LOGITS, NEIGHBOURS
from ifseg_rt.errors import ArtifactError
from ifseg_rt.gpu.memory import Region
from ifseg_rt.upsampling.labels import label_type

if TYPE_CHECKING:
    from ifseg_rt.artifact.sidecar import Artifact
    from ifseg_rt.options import Extras

FLAGS = 64  # int32, one per block of the check for finite values


@dataclass(frozen=True)
class NetworkLayout:
    """Tensors of the network; the same for frames of every size.

    Attributes:
        image: 1 x 3 x H x W float32, the input.
        logits: 1 x n x C float32.
        neighbours: 1 x n x K int32; ``None`` for a model without refinement.
        planes: C x n float32, one plane per class before averaging.
        size: bytes of the whole allocation.
    """

    image: Region
    logits: Region
    neighbours: Region | None
    planes: Region
    size: int

    @property
    def tensors(self) -> dict[str, Region]:
        """Inputs and outputs of the network by name."""
        tensors = {IMAGE: self.image, LOGITS: self.logits}
        return tensors if self.neighbours is None else {**tensors, NEIGHBOURS: self.neighbours}


@dataclass(frozen=True)
class ResultLayout:
    """What one frame of one size gives; copied to the host in one piece.

    Attributes:
        flags: int32, not zero where logits were not finite.
        labels: H x W, uint8 or uint16.
        planes: C x h x w float32, the probabilities.
        confidence: H x W float32, or ``None`` where nobody wants it.
        picture: H x W x 3 uint8, rows without gaps, or ``None`` where nobody wants it.
        size: bytes of the whole allocation.
    """

    flags: Region
    labels: Region
    planes: Region
    confidence: Region | None
    picture: Region | None
    size: int

    @property
    def wide(self) -> bool:
        """Whether labels take two bytes."""
        return self.labels.dtype.itemsize == 2


def lay_out_network(artifact: Artifact) -> NetworkLayout:
    """Lay out the tensors that the sidecar describes.

    Raises:
        ArtifactError: the sidecar lacks one of them.
    """
    specs = {spec.name: spec for spec in (*artifact.inputs, *artifact.outputs)}
    names = [IMAGE, LOGITS, *([] if artifact.refinement is None else [NEIGHBOURS])]
    missing = sorted(set(names) - set(specs))
    if missing:
        raise ArtifactError(f"the model has no {' and no '.join(missing)}, which the GPU's kernels work on")
    cells, classes = prod(artifact.grid), len(artifact.categories)
    shapes = [(specs[name].shape, np.dtype(specs[name].dtype)) for name in names]
    image, logits, *near, planes = _packed([*shapes, ((classes, cells), np.dtype(np.float32))])
    return NetworkLayout(image, logits, near[0] if near else None, planes, planes.end)


def lay_out_result(artifact: Artifact, height: int, width: int, extras: Extras) -> ResultLayout:
    """Lay out the result for frames of ``height`` x ``width`` pixels; what ``extras`` do not ask for takes no room."""
    classes = len(artifact.categories)
    arrays: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {
        "flags": ((FLAGS,), np.int32),
        "labels": ((height, width), label_type(classes)),
        "planes": ((classes, *artifact.grid), np.float32),
    }
    if extras.confidence:
        arrays["confidence"] = ((height, width), np.float32)
    if extras.overlay is not None:
        arrays["picture"] = ((height, width, 3), np.uint8)
    packed = _packed([(shape, np.dtype(kind)) for shape, kind in arrays.values()])
    regions = dict(zip(arrays, packed, strict=True))
    return ResultLayout(
        flags=regions["flags"],
        labels=regions["labels"],
        planes=regions["planes"],
        confidence=regions.get("confidence"),
        picture=regions.get("picture"),
        size=max(region.end for region in regions.values()),
    )


def _packed(arrays: list[tuple[tuple[int, ...], np.dtype[np.generic]]]) -> Iterator[Region]:
    offset = 0
    for shape, dtype in arrays:
        region = Region(offset, tuple(shape), dtype)
        yield region
        offset = region.end
