"""A frame on the GPU: everything between the frame and the labels happens there, in one stream."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ifseg_rt.errors import UsageError
from ifseg_rt.frames import ColorOrder, as_color_frame
from ifseg_rt.gpu.cuda_errors import device_errors
from ifseg_rt.gpu.foreign_frame import DeviceFrame, is_on_device, read_in_place, stream_address
from ifseg_rt.gpu.layout import ResultLayout, lay_out_result
from ifseg_rt.gpu.program import FrameProgram
from ifseg_rt.gpu.recording import FrameRecorder
from ifseg_rt.gpu.results.blocks import BlockPool
from ifseg_rt.gpu.results.on_gpu import DeviceResult
from ifseg_rt.gpu.results.reader import DeviceMemoryResult, ResultReader
from ifseg_rt.options import Averaging, Extras

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ifseg_rt.artifact.sidecar import Artifact
    from ifseg_rt.gpu.device import Gpu
    from ifseg_rt.gpu.memory import Memory, PinnedMemory
    from ifseg_rt.gpu.network import GpuNetwork
    from ifseg_rt.result import Result

_HELD_AT_MOST = 8  # frames of callers kept alive by run_on_device before it waits for the GPU once


@dataclass
class _Size:
    """Memory for frames of one size."""

    layout: ResultLayout
    result: Memory
    blocks: BlockPool
    staging: PinnedMemory | None = None  # these two are made for the first frame that comes from the host
    frame: Memory | None = None


class GpuRunner:
    """Pre-processing, network, averaging and up-sampling on one GPU; one stream, one context.

    All memory is allocated once per frame size; when the size changes it is made again and recordings are dropped.
    Threads take turns. A frame from the host costs one copy into page-locked memory and one over the bus; a frame that
    is on the GPU already is read in place. Labels and probabilities come back in one copy, into page-locked memory that
    the result's arrays are made of.

    From the second frame of a size on, the whole frame is one CUDA graph launch, where the network can be recorded.
    A frame on the GPU may lie somewhere else every time, so what reads it is launched apart: pre-processing, and the
    labels where they paint the picture; copying the frame to a fixed place instead would move all of it twice.

    Args:
        gpu: the GPU; its stream serves this runner alone.
        network: the loaded network, made for that stream; closed with this runner.
        artifact: the verified sidecar.
        averaging: how class probabilities are averaged.
        extras: what else is made of every frame, in the same launch as the labels.
        cuda_graph: ``False`` launches every piece of every frame.
        time_stages: measure every stage with CUDA events; needs pieces, so it excludes the graph.

    Raises:
        ArtifactError: the model lacks a tensor the kernels work on.
        DeviceError: the GPU's memory is too small, or the network refuses its buffers.
    """

    def __init__(
        self,
        gpu: Gpu,
        network: GpuNetwork,
        artifact: Artifact,
        averaging: Averaging,
        extras: Extras | None = None,
        *,
        cuda_graph: bool = True,
        time_stages: bool = False,
    ) -> None:
        self._gpu = gpu
        self.gpu: int | None = gpu.index
        self._network = network
        self._artifact = artifact
        self._extras = extras or Extras()
        self._recorder = FrameRecorder(gpu.record, network.why_not_recordable, wanted=cuda_graph and not time_stages)
        self._lock = threading.RLock()  # a result of this runner may be given to it as a frame, and asks it for memory
        colors = tuple(category.color for category in artifact.categories)
        self._reader = ResultReader(gpu, self._lock, network.device, artifact.category_names, colors)
        self._closed = False
        self._frames = 0
        self._size: _Size | None = None
        self._held: list[Any] = []  # owners of frames on the GPU that enqueued work may still read
        self._copying = False  # whether enqueued work may still read the staging memory
        with gpu.current(), device_errors(f"allocating memory on {gpu.name}"):
            self._program = FrameProgram(gpu, network, artifact, averaging, self._extras, time_stages=time_stages)
        # Comes before anything that this runner owns is freed.
        self._abandoned = weakref.finalize(self, _free_when_dropped, gpu, network, self._held)
        self._abandoned.atexit = False

    @property
    def device(self) -> str:
        """See :class:`ifseg_rt.runner.Runner`."""
        return self._network.device

    @property
    def fallback_reason(self) -> str | None:
        """See :class:`ifseg_rt.runner.Runner`."""
        return self._network.fallback_reason

    @property
    def graph_refusal(self) -> str | None:
        """Why frames are launched piece by piece although a CUDA graph is wanted, or ``None``."""
        return self._recorder.refusal

    def run(self, frame: Any, color: ColorOrder) -> Result:  # noqa: ANN401
        """See :meth:`ifseg_rt.runner.Runner.run`; ``frame`` may lie on the host or on the GPU."""
        picture, order = _picture(frame, color)
        with self._turn():
            started = time.perf_counter()
            size = self._enqueue(frame, picture, order)
            with device_errors("copying the result"):
                block = size.blocks.take()
                self._gpu.copy(block.address, size.result.address, size.layout.size)
                self._program.clock.mark("download")
                self._wait()
                timings = self._program.clock.read()
            timings["total"] = (time.perf_counter() - started) * 1e3
            return self._reader.result_in(block, size.layout, order, timings)

    def run_on_device(self, frame: Any, color: ColorOrder, stream: Any) -> DeviceResult:  # noqa: ANN401
        """See :meth:`ifseg_rt.runner.Runner.run_on_device`.

        Args:
            frame: on the host or on the GPU.
            color: its channel order.
            stream: the caller's stream, or ``None``. What is enqueued there before comes before this frame (which may
                still be written there) and before the former result is overwritten; what is enqueued there afterwards
                comes after this result.
        """
        caller = stream_address(stream)
        picture, order = _picture(frame, color)
        with self._turn():
            if caller is not None:
                with device_errors("waiting for the caller's stream"):
                    self._gpu.follow(caller)
            size = self._enqueue(frame, picture, order)
            if caller is not None:
                with device_errors("letting the caller's stream wait"):
                    self._gpu.lead(caller)
            number = self._frames
            result = DeviceMemoryResult(size.result, size.layout, order, size.blocks, lambda: self._frames == number)
        return DeviceResult(self._reader, self._gpu, result)

    def close(self) -> None:
        """See :meth:`ifseg_rt.runner.Runner.close`."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._abandoned.detach()
            self._frames += 1
            with self._gpu.current(), device_errors("closing"):
                try:
                    self._gpu.synchronize()
                finally:
                    self._recorder.forget()
                    self._size = None
                    self._held.clear()
                    self._network.close()
                    self._program.close()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with self._lock:
            if self._closed:
                raise UsageError("this Segmenter is closed", hint="open a new one, or call it inside the with block")
            with self._gpu.current():
                yield

    def _enqueue(self, frame: Any, picture: NDArray[np.uint8] | None, order: ColorOrder) -> _Size:  # noqa: ANN401
        """Everything up to the result in GPU memory."""
        swap = order != self._artifact.preprocess.color
        if picture is None:
            found = read_in_place(frame, self._gpu.view, device=self._gpu.index)
            with device_errors("labelling a frame"):
                return self._enqueue_in_place(found, swap)
        with device_errors("labelling a frame"):
            return self._enqueue_upload(picture, swap)

    def _enqueue_in_place(self, frame: DeviceFrame, swap: bool) -> _Size:
        size = self._size_for(frame.height, frame.width)
        result, layout, program = size.result.address, size.layout, self._program
        if len(self._held) >= _HELD_AT_MOST:
            self._wait()
        self._held.append(frame.owner)

        def score_and_label() -> None:
            program.score(result, layout)
            program.label(result, layout, frame, swap=swap)

        program.clock.start()
        program.preprocess(frame, swap=swap)
        # Only what does not read the frame is recorded.
        if layout.picture is None:
            self._recorder.run("scores and labels", score_and_label)
        else:
            self._recorder.run("scores", lambda: program.score(result, layout))
            program.label(result, layout, frame, swap=swap)
        return size

    def _enqueue_upload(self, picture: NDArray[np.uint8], swap: bool) -> _Size:
        height, width = picture.shape[:2]
        count = 3 * height * width
        size, program = self._size_for(height, width), self._program
        if size.staging is None or size.frame is None:
            size.staging, size.frame = self._gpu.allocate_pinned(count), self._gpu.allocate(count)
        elif self._copying:
            # The frame before, left on the GPU by run_on_device, may still be on its way out of the staging memory.
            self._wait()
        staging = size.staging
        target = DeviceFrame(size.frame.address, height, width, 3 * width)
        np.copyto(staging.array((height, width, 3), np.uint8), picture)
        self._copying = True

        def whole_frame() -> None:
            self._gpu.copy(target.address, staging.address, count)
            program.clock.mark("upload")
            program.preprocess(target, swap=swap)
            program.score(size.result.address, size.layout)
            program.label(size.result.address, size.layout, target, swap=swap)

        program.clock.start()
        self._recorder.run(("whole frame", swap), whole_frame)
        return size

    def _size_for(self, height: int, width: int) -> _Size:
        self._frames += 1  # former results are void from here on
        if self._size is not None and self._size.layout.labels.shape == (height, width):
            return self._size
        if self._size is not None:
            self._wait()
            self._recorder.forget()
            self._size = None  # first: both at once may not fit
        layout = lay_out_result(self._artifact, height, width, self._extras)
        self._size = _Size(layout, self._gpu.allocate(layout.size), BlockPool(self._gpu.allocate_pinned, layout.size))
        return self._size

    def _wait(self) -> None:
        """Wait for the stream; nothing enqueued reads a caller's frame or the staging memory any more."""
        self._gpu.synchronize()
        self._held.clear()
        self._copying = False


def _free_when_dropped(gpu: Gpu, network: GpuNetwork, held: list[Any]) -> None:
    """For a runner that was dropped without closing: enqueued work may still use its memory and the callers' frames.

    The network too is closed here, with its GPU current, whichever the collecting thread works on.
    """

    def leave() -> None:
        try:
            gpu.synchronize()
        finally:
            held.clear()
            network.close()

    gpu.release(leave)


def _picture(frame: Any, color: ColorOrder) -> tuple[NDArray[np.uint8] | None, ColorOrder]:  # noqa: ANN401
    """A frame on the host, with any strides, or ``None`` for one on the GPU; and its channel order."""
    return (None, color) if is_on_device(frame) else as_color_frame(frame, color, contiguous=False)
