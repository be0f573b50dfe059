"""What is enqueued for one frame: pre-processing, network, averaging, labels. No decision about when or how."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from ifseg_rt.device_plan import FLAGS, ResultPlan, plan_network

if TYPE_CHECKING:
    from ifseg_rt.artifact import Artifact
    from ifseg_rt.backends.network import DeviceNetwork
    from ifseg_rt.device_clock import StageClock
    from ifseg_rt.device_frame import DeviceFrame
    from ifseg_rt.device_gpu import Gpu, Memory
    from ifseg_rt.frame_path import Averaging


class FrameProgram:
    """The work on one frame, over tensors that are allocated once.

    Methods enqueue on the GPU's stream; they neither allocate nor wait, so they can be recorded into a CUDA graph.
    They raise what CUDA's libraries raise.

    Args:
        gpu: where it runs; current in the calling thread, here and for every method.
        network: the loaded network; its inputs and outputs are bound here.
        artifact: the verified sidecar.
        averaging: how class probabilities are averaged.

    Raises:
        ArtifactError: the model lacks a tensor the kernels work on.
        DeviceError: the network refuses its buffers.
    """

    def __init__(self, gpu: Gpu, network: DeviceNetwork, artifact: Artifact, averaging: Averaging) -> None:
        self._gpu = gpu
        self._network = network
        self._spec = artifact.preprocess
        self._grid = artifact.grid
        self._cells, self._classes = prod(artifact.grid), len(artifact.categories)
        self._most = artifact.refinement.max_neighbours
        self._settings = averaging.settings
        plan = plan_network(artifact)
        memory = gpu.allocate(plan.size)
        self._memory: Memory | None = memory
        self._image, self._logits, self._neighbours, self._planes = (
            memory.address + region.offset for region in (plan.image, plan.logits, plan.neighbours, plan.planes)
        )
        network.bind({name: memory.address + region.offset for name, region in plan.tensors.items()})

    def preprocess(self, frame: DeviceFrame, *, swap: bool) -> None:
        """Fill the network's input from a frame; ``swap``: its channel order is the reverse of the network's."""
        self._gpu.kernels.preprocess(
            self._gpu.stream,
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

    def label(self, result: int, plan: ResultPlan, clock: StageClock) -> None:
        """Run the network on its input and write labels, probabilities and flags.

        Args:
            result: address of the result's memory.
            plan: what goes where in it.
            clock: told of the ends of the stages.
        """
        self._network.enqueue()
        clock.mark("inference")
        scores = self._average(result, plan)
        clock.mark("refinement")
        rows, columns = self._grid
        height, width = plan.labels.shape
        self._gpu.kernels.labels(
            self._gpu.stream,
            scores,
            self._classes,
            rows,
            columns,
            labels=result + plan.labels.offset,
            height=height,
            width=width,
            wide=plan.wide,
        )
        clock.mark("upsampling")

    def close(self) -> None:
        """Give the memory back; nothing may be enqueued any more."""
        self._memory = None

    def _average(self, result: int, plan: ResultPlan) -> int:
        """Write flags and probabilities; gives the address of the planes that labels are taken from."""
        kernels, stream = self._gpu.kernels, self._gpu.stream
        cells, classes = self._cells, self._classes
        probabilities = result + plan.planes.offset
        kernels.finite(stream, self._logits, cells * classes, flags=result + plan.flags.offset, blocks=FLAGS)
        if self._settings is None:
            kernels.softmax(stream, self._logits, cells, classes, planes=probabilities)
            kernels.transpose(stream, self._logits, cells, classes, planes=self._planes)
            return self._planes
        k, rounds = self._settings
        if rounds == 0:
            kernels.softmax(stream, self._logits, cells, classes, planes=probabilities)
            return probabilities
        kernels.softmax(stream, self._logits, cells, classes, planes=self._planes)
        kernels.refine(stream, self._planes, self._neighbours, cells, classes, self._most, k, rounds, out=probabilities)
        return probabilities
