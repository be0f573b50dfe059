"""The sidecar's schema: what an exported model says about itself, as strict typed records.

Unknown fields are errors. Every tensor shape is fixed at export but for the number of pictures, so shapes that do not
fit each other are refused here, before anything runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

# Written. Version 1 is read: there every model had a refinement, else it is the same.
SCHEMA_VERSION = 2
OLDEST_SCHEMA_VERSION = 1
KIND = "ifseg-rt-artifact"
# Length of an axis that the caller chooses.
OPEN_AXIS = -1
# The tensors of a graph: the pictures, what is refined inside the graph, and what the refinement is made from.
IMAGE, PROBABILITIES, LOGITS, NEIGHBOURS = "image", "probabilities", "logits", "neighbours"


class FileRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of the artifact; ``name`` is a plain file name beside the sidecar."""

    name: str
    bytes: int
    sha256: str


class CategoryRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One category: its name, the other words averaged into it, and its RGB colour (0..255)."""

    name: str
    synonyms: tuple[str, ...]
    color: tuple[int, int, int]


class Preprocess(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a uint8 frame becomes the network's input: ``x = (u8 / 255 - mean) / std`` after the resize (spec 4.1).

    The frame is stretched to ``height`` x ``width`` whatever its aspect ratio.
    """

    height: int
    width: int
    color: Literal["rgb", "bgr"]
    resize: Literal["stretch"]
    interpolation: Literal["bilinear"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class TensorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Name, element type and shape of one input or output of the graph.

    The first length is the number of pictures, :data:`OPEN_AXIS` where that is a range; all others are fixed.
    """

    name: str
    dtype: Literal["float32", "int32"]
    shape: tuple[int, ...]


class Refinement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """kNN settings baked into the ``probabilities`` output (spec 9), and how many neighbours the graph also gives."""

    neighbours: int
    rounds: int
    max_neighbours: int


class Parity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the export measured between the model and the graph."""

    max_logit_difference: float
    label_agreement: float
    pictures: int


class Artifact(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole sidecar. ``integrity`` seals the other fields; :func:`write_artifact` fills it in.

    ``batch`` is the number of pictures per call; with ``smallest_batch`` it is the largest, and any number between
    the two will do. ``refinement`` is ``None`` for a model without one: it gives no ``neighbours``, and its
    ``probabilities`` are those of its logits.
    """

    schema_version: int
    kind: Literal["ifseg-rt-artifact"]
    method: str
    name: str
    files: tuple[FileRecord, ...]
    categories: tuple[CategoryRecord, ...]
    preprocess: Preprocess
    batch: int
    grid: tuple[int, int]
    precision: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    refinement: Refinement | None
    provenance: dict[str, str | int | float | None]
    tools: dict[str, str]
    parity: Parity
    smallest_batch: int | None = None
    integrity: str = ""

    @property
    def category_names(self) -> tuple[str, ...]:
        """Names in label order: label ``i`` means ``category_names[i]``."""
        return tuple(category.name for category in self.categories)

    @property
    def takes_single_frames(self) -> bool:
        """Whether one picture per call will do."""
        return (self.smallest_batch or self.batch) == 1

    def for_single_frames(self) -> Artifact:
        """The same with every open number of pictures set to one."""
        if self.smallest_batch is None:
            return self

        def one(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
            return tuple(msgspec.structs.replace(spec, shape=(1, *spec.shape[1:])) for spec in specs)

        return msgspec.structs.replace(
            self, batch=1, smallest_batch=None, inputs=one(self.inputs), outputs=one(self.outputs)
        )


def contradictions(artifact: Artifact) -> list[str]:
    """Everything in ``artifact`` that cannot be true together, one line each; empty when all is well."""
    problems: list[str] = []

    def expect(holds: bool, problem: str) -> None:
        if not holds:
            problems.append(problem)

    names = artifact.category_names
    preprocess, refinement = artifact.preprocess, artifact.refinement
    height, width = artifact.grid
    cells, classes = height * width, len(names)
    smallest = artifact.batch if artifact.smallest_batch is None else artifact.smallest_batch
    expect(
        OLDEST_SCHEMA_VERSION <= artifact.schema_version <= SCHEMA_VERSION,
        f"schema_version {artifact.schema_version} is not {OLDEST_SCHEMA_VERSION} to {SCHEMA_VERSION}",
    )
    expect(artifact.schema_version > 1 or refinement is not None, "version 1 has no models without refinement")
    expect(classes > 0, "it has no categories")
    expect(classes <= 65535, f"{classes} categories do not fit 16-bit labels")
    expect(all(name.strip() for name in names), "a category has an empty name")
    expect(len(set(names)) == classes, "two categories have the same name")
    expect(all(0 <= v <= 255 for c in artifact.categories for v in c.color), "a colour is outside 0..255")
    expect(smallest <= artifact.batch, f"the smallest batch {smallest} is above the largest {artifact.batch}")
    expect(min(smallest, height, width, preprocess.height, preprocess.width) > 0, "a size is not positive")
    expect(all(math.isfinite(v) for v in preprocess.mean), "a mean is not finite")
    expect(all(math.isfinite(v) and v > 0 for v in preprocess.std), "a standard deviation is not positive")
    if refinement is not None:
        least, most = refinement.neighbours, refinement.max_neighbours
        expect(1 <= least <= most <= cells, f"neighbours {least} <= max_neighbours {most} <= {cells} does not hold")
        expect(refinement.rounds >= 0, f"{refinement.rounds} refinement rounds")
    expect(
        refinement is not None or all(spec.name != NEIGHBOURS for spec in artifact.outputs),
        f"it gives {NEIGHBOURS}, but has no refinement",
    )
    numbers = [artifact.parity.max_logit_difference, artifact.parity.label_agreement, *artifact.provenance.values()]
    expect(all(math.isfinite(v) for v in numbers if isinstance(v, float)), "a number is not finite")
    expect(bool(artifact.files), "it names no files")
    expect(all(_is_plain_name(record.name) for record in artifact.files), "a file name contains a folder")
    batch = artifact.batch if artifact.smallest_batch is None else OPEN_AXIS
    expected = {
        IMAGE: ("float32", (batch, 3, preprocess.height, preprocess.width)),
        PROBABILITIES: ("float32", (batch, classes, height, width)),
        LOGITS: ("float32", (batch, cells, classes)),
    }
    if refinement is not None:
        expected[NEIGHBOURS] = ("int32", (batch, cells, refinement.max_neighbours))
    problems += _tensor_problems("input", artifact.inputs, {IMAGE: expected.pop(IMAGE)})
    problems += _tensor_problems("output", artifact.outputs, expected)
    return problems


def _tensor_problems(
    role: str, specs: Sequence[TensorSpec], expected: dict[str, tuple[str, tuple[int, ...]]]
) -> list[str]:
    found = {spec.name: (spec.dtype, spec.shape) for spec in specs}
    return [
        f"{role} {name!r} should be {dtype} {list(shape)}, found "
        + (f"{found[name][0]} {list(found[name][1])}" if name in found else "none")
        for name, (dtype, shape) in expected.items()
        if found.get(name) != (dtype, shape)
    ]


def _is_plain_name(name: str) -> bool:
    return bool(name) and name not in {".", ".."} and "/" not in name and "\\" not in name
