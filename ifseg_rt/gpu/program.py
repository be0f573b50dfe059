"""What is enqueued for one frame: pre-processing, network, averaging, labels. No decision about when or how."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ifseg_rt.gpu.layout import FLAGS, ResultLayout, lay_out_network
from ifseg_rt.kernels.launches import (
    OverlayTarget,
    plan_finite,
    plan_labels,
    plan_preprocess,
    plan_refine,
    plan_softmax,
    plan_transpose,
)

if TYPE_CHECKING:
    from ifseg_rt.artifact.sidecar import Artifact
    from ifseg_rt.gpu.device import Gpu
    from ifseg_rt.gpu.foreign_frame import DeviceFrame
    from ifseg_rt.gpu.memory import Memory, PinnedMemory
    from ifseg_rt.gpu.network import GpuNetwork
    from ifseg_rt.options import Averaging, Extras


class FrameProgram:
    """The work on one frame, over tensors that are allocated once.

    Methods enqueue on the GPU's stream; they neither allocate nor wait, so they can be recorded into a CUDA graph.
    They raise what CUDA's libraries raise.

    Args:
        gpu: where it runs; current in the calling thread, here and for every method.
        network: the loaded network; its inputs and outputs are bound here.
        artifact: the verified sidecar.
        averaging: how class probabilities are averaged.
        extras: what else is made of every frame.
        time_stages: whether the ends of the stages are marked with CUDA events.

    Attributes:
        clock: told of the ends of the stages.

    Raises:
        ArtifactError: the model lacks a tensor the kernels work on.
        DeviceError: the network refuses its buffers.
    """

    def __init__(
        self,
        gpu: Gpu,
        network: GpuNetwork,
        artifact: Artifact,
        averaging: Averaging,
        extras: Extras,
        *,
        time_stages: bool,
    ) -> None:
        self.clock = StageClock(gpu, enabled=time_stages)
        self._gpu = gpu
        self._network = network
        self._spec = artifact.preprocess
        self._grid = artifact.grid
        self._cells, self._classes = prod(artifact.grid), len(artifact.categories)
        self._most = 0 if artifact.refinement is None else artifact.refinement.max_neighbours
        self._settings = averaging.settings
        layout = lay_out_network(artifact)
        memory = gpu.allocate(layout.size)
        self._memory: Memory | None = memory
        self._image, self._logits, self._planes = (
            memory.address + region.offset for region in (layout.image, layout.logits, layout.planes)
        )
        # Without a refinement there are none, and no settings to average with.
        self._neighbours = 0 if layout.neighbours is None else memory.address + layout.neighbours.offset
        network.bind({name: memory.address + region.offset for name, region in layout.tensors.items()})
        self._alpha = extras.overlay
        self._palettes = None if extras.overlay is None else _Palettes(gpu, artifact)

    def preprocess(self, frame: DeviceFrame, *, swap: bool) -> None:
        """Fill the network's input from a frame; ``swap``: its channel order is the reverse of the network's."""
        self._gpu.launch(
            plan_preprocess(
                frame.address,
                frame.height,
                frame.width,
                frame.pitch,
                swap=swap,
                out=self._image,
                out_height=self._spec.height,
                out_width=self._spec.width,
                mean=self._spec.mean,
                std=self._spec.std,
                half=False,
            )
        )
        self.clock.mark("preprocess")

    def score(self, result: int, layout: ResultLayout) -> None:
        """Run the network on its input and write probabilities and flags.

        Args:
            result: address of the result's memory.
            layout: what goes where in it.
        """
        self._network.enqueue()
        self.clock.mark("inference")
        self._average(result, layout)
        self.clock.mark("refinement")

    def label(self, result: int, layout: ResultLayout, frame: DeviceFrame, *, swap: bool) -> None:
        """Write the labels, and what else is wanted of every pixel, in one launch.

        Args:
            result: address of the result's memory, which :meth:`score` has written to.
            layout: what goes where in it.
            frame: what a picture is painted over; its memory is read only for that.
            swap: as for :meth:`preprocess`.
        """
        rows, columns = self._grid
        height, width = layout.labels.shape
        # Without averaging labels come from the logits, but confidence is a probability.
        from_logits = self._settings is None
        probabilities = result + layout.planes.offset
        self._gpu.launch(
            plan_labels(
                self._planes if from_logits else probabilities,
                self._classes,
                rows,
                columns,
                labels=result + layout.labels.offset,
                height=height,
                width=width,
                wide=layout.wide,
                confidence=0 if layout.confidence is None else result + layout.confidence.offset,
                values=probabilities if from_logits and layout.confidence is not None else 0,
                overlay=self._overlay(result, layout, frame, swap=swap),
            )
        )
        self.clock.mark("upsampling")

    def close(self) -> None:
        """Give the memory back; nothing may be enqueued any more."""
        self._memory = self._palettes = None

    def _overlay(self, result: int, layout: ResultLayout, frame: DeviceFrame, *, swap: bool) -> OverlayTarget | None:
        if layout.picture is None or self._palettes is None or self._alpha is None:
            return None
        return OverlayTarget(
            frame=frame.address,
            frame_pitch=frame.pitch,
            picture=result + layout.picture.offset,
            picture_pitch=3 * frame.width,
            palette=self._palettes.address(rgb=(self._spec.color == "rgb") != swap),
            alpha=self._alpha,
        )

    def _average(self, result: int, layout: ResultLayout) -> None:
        """Write flags and probabilities, and without averaging the logits by class."""
        launch, cells, classes = self._gpu.launch, self._cells, self._classes
        probabilities = result + layout.planes.offset
        launch(plan_finite(self._logits, cells * classes, flags=result + layout.flags.offset, blocks=FLAGS))
        if self._settings is None:
            launch(plan_softmax(self._logits, cells, classes, planes=probabilities))
            launch(plan_transpose(self._logits, cells, classes, planes=self._planes))
            return
        k, rounds = self._settings
        if rounds == 0:
            launch(plan_softmax(self._logits, cells, classes, planes=probabilities))
            return
        launch(plan_softmax(self._logits, cells, classes, planes=self._planes))
        launch(
            plan_refine(
                self._planes,
                self._neighbours,
                cells,
                classes,
                self._most,
                k,
                rounds,
                out=probabilities,
                shared_limit=self._gpu.shared_limit,
            )
        )


class _Palettes:
    """The categories' colours on the GPU, in either channel order: C x 3 uint8 each."""

    def __init__(self, gpu: Gpu, artifact: Artifact) -> None:
        rgb = np.array([category.color for category in artifact.categories], dtype=np.uint8)
        self._bytes = rgb.nbytes
        # Page-locked and kept: the copy is enqueued, not done, when this returns.
        self._staging: PinnedMemory = gpu.allocate_pinned(2 * self._bytes)
        self._memory: Memory = gpu.allocate(2 * self._bytes)
        np.copyto(self._staging.array((2, *rgb.shape), np.uint8), np.stack([rgb, rgb[:, ::-1]]))
        gpu.copy(self._memory.address, self._staging.address, 2 * self._bytes)

    def address(self, *, rgb: bool) -> int:
        return self._memory.address + (0 if rgb else self._bytes)


class StageClock:
    """Times of the stages of one frame, from CUDA events; only when asked, since events are not free.

    Args:
        gpu: where the stages run.
        enabled: ``False`` makes every mark free and every reading empty.
    """

    def __init__(self, gpu: Gpu, *, enabled: bool) -> None:
        self._gpu = gpu
        self._enabled = enabled
        self._marks: list[tuple[str, Any]] = []

    def start(self) -> None:
        """Begin a frame."""
        self._marks.clear()
        self.mark("start")

    def mark(self, stage: str) -> None:
        """Everything enqueued since the mark before belongs to ``stage``."""
        if self._enabled:
            self._marks.append((stage, self._gpu.mark()))

    def read(self) -> dict[str, float]:
        """Milliseconds of every stage; the stream must have passed all marks."""
        pairs = zip(self._marks, self._marks[1:], strict=False)
        return {stage: self._gpu.milliseconds(before, mark) for (_, before), (stage, mark) in pairs}
