"""The schema of ``model.engine.json``: what an engine says about itself, its model and its building.

The engine itself stays a plain engine file that ``trtexec`` and Triton load as well.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from ifseg_rt.artifact.schema import LOGITS, NEIGHBOURS, Artifact, FileRecord, Parity, TensorSpec, contradictions

# Written; its model's sidecar may be of any version that is read. Version 1 is read too: its models are of version 1.
ENGINE_SCHEMA_VERSION = 2
OLDEST_ENGINE_SCHEMA_VERSION = 1
ENGINE_KIND = "ifseg-rt-engine"
# The refinement is not in the engine: kernels of our own do it from these two, or from the logits alone.
ENGINE_OUTPUTS = (LOGITS, NEIGHBOURS)

HardwareLevel = Literal["none", "ampere_plus", "same_compute_capability"]


class EngineBuild(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How and where an engine was built: all that decides whether it runs on another machine.

    Attributes:
        runtime: flavour of TensorRT.
        version: its full version.
        platform: of the builder, e.g. ``"linux-x86_64"``.
        compute_capabilities: the GPUs it is for; empty means all that TensorRT-RTX supports by default.
        version_compatible: whether later versions of TensorRT run it.
        hardware_compatibility: which other GPUs run it.
        device: name of the GPU of the builder, ``None`` where it had none or needed none.
        driver: driver version of the builder, where known.
        driver_cuda: newest CUDA version that this driver supports.
        cuda: major CUDA version that TensorRT itself was made for, where known.
        workspace_mb: limit of scratch memory given to the builder, in MiB.
        device_memory: bytes that the engine takes on the GPU beside its weights, where the builder said it.
        seconds: how long parsing and building took.
        tools: versions of this package and its Python.
    """

    runtime: Literal["tensorrt", "tensorrt_rtx"]
    version: str
    platform: str
    compute_capabilities: tuple[str, ...]
    version_compatible: bool = False
    hardware_compatibility: HardwareLevel = "none"
    device: str | None = None
    driver: str | None = None
    driver_cuda: str | None = None
    cuda: str | None = None
    workspace_mb: int | None = None
    device_memory: int | None = None
    seconds: float = 0.0
    tools: dict[str, str] = msgspec.field(default_factory=dict)


class EngineParity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The engine against the ONNX model it was built from (that one against PyTorch is in the model's own record).

    Attributes:
        measured: the comparison, or ``None``.
        device: the GPU it was made on.
        skipped: why there is none.
    """

    measured: Parity | None = None
    device: str | None = None
    skipped: str | None = None


class EngineArtifact(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole sidecar. ``integrity`` seals the other fields; ``write_engine_sidecar`` fills it in.

    Attributes:
        engine: the engine file.
        onnx: the ONNX model it was built from.
        model: that model's whole sidecar: categories, pre-processing, shapes, provenance.
    """

    schema_version: int
    kind: Literal["ifseg-rt-engine"]
    engine: FileRecord
    onnx: FileRecord
    model: Artifact
    build: EngineBuild
    parity: EngineParity
    integrity: str = ""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Inputs of the engine, those of the model."""
        return self.model.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Outputs of the engine."""
        return engine_outputs(self.model)


def engine_outputs(model: Artifact) -> tuple[TensorSpec, ...]:
    """What an engine of ``model`` gives: its outputs without the refined ones."""
    return tuple(spec for spec in model.outputs if spec.name in ENGINE_OUTPUTS)


def engine_contradictions(engine: EngineArtifact) -> list[str]:
    """Everything in ``engine`` that cannot be true together, one line each."""
    problems = [f"its model: {problem}" for problem in contradictions(engine.model)]

    def expect(holds: bool, problem: str) -> None:
        if not holds:
            problems.append(problem)

    build, parity = engine.build, engine.parity
    expect(engine.onnx == engine.model.files[0], "onnx is not the first file of its model")
    expect(engine.engine.bytes > 0, "the engine is empty")
    expect(bool(build.version), "it names no TensorRT version")
    expect(
        build.runtime == "tensorrt_rtx" or len(build.compute_capabilities) == 1,
        "an engine of full TensorRT is for one compute capability",
    )
    expect(
        build.runtime == "tensorrt" or not (build.version_compatible or build.hardware_compatibility != "none"),
        "TensorRT-RTX has no version or hardware compatibility",
    )
    expect((parity.measured is None) == (parity.skipped is not None), "parity is neither measured nor explained")
    measured = parity.measured
    expect(
        measured is None or all(map(math.isfinite, (measured.max_logit_difference, measured.label_agreement))),
        "a number is not finite",
    )
    return problems
