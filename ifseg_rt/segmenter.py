"""The engine: a frame in, a labelled frame out. It knows the artifact and nothing else about the model."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ifseg_rt.artifact.shipped import default_model_path
from ifseg_rt.artifact.sidecar import Artifact
from ifseg_rt.choose_runner import open_runner
from ifseg_rt.errors import ArtifactError, DeviceError
from ifseg_rt.frames import color_order
from ifseg_rt.leaving import native_work
from ifseg_rt.machine import require_gpu
from ifseg_rt.model_file import read_model
from ifseg_rt.options import (
    Averaging,
    DeviceChoice,
    Extras,
    RunOptions,
    checked_opacity,
    checked_path,
    checked_refinement,
    checked_switch,
    checked_threads,
    refinement_settings,
)
from ifseg_rt.processes import watch
from ifseg_rt.result import Result
from ifseg_rt.runner import Runner

if TYPE_CHECKING:
    from ifseg_rt.frames import ColorOrder
    from ifseg_rt.gpu.results.on_gpu import DeviceResult
    from ifseg_rt.sources.settings import SourceSettings
    from ifseg_rt.stream.observer import Observer
    from ifseg_rt.stream.policy import StreamPolicy
    from ifseg_rt.stream.segmented import SegmentedStream

_LOG = logging.getLogger(__name__)


class Segmenter:
    """Segments frames with an exported model.

    One segmenter may be shared by any number of threads: they take turns on the device, and on the host up-sampling
    runs beside it. Segmenters of the same engine file share the engine, each with a context and a stream of its own.

    It can be pickled: path and settings travel, and the model is opened again where it arrives, if it still is the
    same. So it may be handed to ``multiprocessing`` and to workers of ``torch.utils.data``. In a forked process the
    first call opens the model again; on a GPU that is refused, since CUDA does not survive a fork.

    Args:
        path: the ``.onnx`` model, its sidecar ``.json`` beside it; or an ``.engine`` (``.plan``, ``.trt``) of TensorRT
            or TensorRT-RTX, its sidecar ``.engine.json`` beside it.
        refine: ``True`` averages class probabilities over similar patches as baked at export (spec 9); ``(k, rounds)``
            does it with other settings, up to 1000 rounds; ``False`` labels from the raw logits (spec 8), as a model
            without refinement always does.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"tensorrt"`` (for ``.onnx``: ONNX Runtime's TensorRT provider,
            with its engines kept in the user's cache folder). ``"cuda:1"`` and ``"tensorrt:1"`` take GPU 1, for engines
            too; without a number it is GPU 0. GPUs count from 0 as CUDA orders those that ``CUDA_VISIBLE_DEVICES``
            leaves: the fastest first, or like ``nvidia-smi`` with ``CUDA_DEVICE_ORDER=PCI_BUS_ID``.
        threads: CPU threads of the run time; ``None`` for one per core, or as many as the container may use.
        color: channel order of the frames, unless a call says otherwise: ``"bgr"`` (OpenCV's) or ``"rgb"``.
        rebuild: build an engine that is missing or does not fit this machine again, from the ONNX model beside it.
        cuda_graph: on the GPU, launch whole frames as CUDA graphs where the network can be recorded.
        time_stages: on the GPU, measure every stage with CUDA events, which excludes the graph; the host always does.
        confidence: make :attr:`Result.confidence` of every frame. On the GPU it is written together with the labels and
            comes to the host with them, so that it costs next to nothing; without it, the host computes it when asked.
        overlay: opacity (0..1) of the category colours: make :attr:`Result.picture`, the frame painted with them, of
            every frame, on the GPU likewise together with the labels. A frame that lies on the GPU already is read once
            more for it; as it may lie somewhere else every time, labels then are a launch of their own behind the CUDA
            graph. ``None`` paints nothing; :meth:`Result.overlay` still can.
        allow_host_code: open engines that carry code for the CPU (those built with ``--version-compatible``). It runs
            with all that you may do, and the file cannot vouch for itself: only for engines of people you trust.

    What is asked for is the same on the CPU, computed by the host. Confidence is, bit for bit, the up-sampled
    ``probabilities`` of the result at its labels. A picture has the rounding of ``cv2.addWeighted``: the sum of both
    shares in float32, then the nearest level, ties to even. OpenCV uses a fused multiply-add for it where the processor
    has one, and so does the GPU; on other processors single levels may differ by one.

    Raises:
        ArtifactError: the model or its sidecar is missing, foreign, edited, made for batches or for another machine.
        DeviceError: the inference run time or the device is missing or refuses to work, or there is no such GPU.
        UsageError: an argument is invalid.

    Example:
        >>> with Segmenter("model.onnx") as segmenter:
        ...     result = segmenter(frame)
        ...     road = result.mask("road")
    """

    def __init__(
        self,
        path: str | Path,
        *,
        refine: bool | tuple[int, int] = True,
        device: str = "auto",
        threads: int | None = None,
        color: str = "bgr",
        rebuild: bool = False,
        cuda_graph: bool = True,
        time_stages: bool = False,
        confidence: bool = False,
        overlay: float | None = None,
        allow_host_code: bool = False,
    ) -> None:
        self._color = color_order(color)
        choice = DeviceChoice.parse(device)
        wanted = checked_refinement(refine)
        options = RunOptions(
            choice,
            checked_threads(threads),
            checked_switch("cuda_graph", cuda_graph),
            checked_switch("time_stages", time_stages),
            Extras(checked_switch("confidence", confidence), checked_opacity(overlay)),
            checked_switch("allow_host_code", allow_host_code),
        )
        rebuild = checked_switch("rebuild", rebuild)
        self.path = checked_path(path)
        require_gpu(choice.kind, choice.index)
        model = read_model(self.path, rebuild=rebuild, gpu=choice.gpu)
        self.artifact: Artifact = model.artifact
        self.refinement = refinement_settings(wanted, self.artifact)
        self._process = os.getpid()
        self._runner: Runner = open_runner(model, Averaging.of(self.refinement, self.artifact), options)
        watch(self._runner)
        # What a copy in another process is opened with; an engine that was to be built again has been by now.
        self._arguments = {
            "path": self.path.absolute(),
            "refine": wanted,
            "device": str(choice),
            "threads": options.threads,
            "color": self._color,
            "cuda_graph": options.cuda_graph,
            "time_stages": options.time_stages,
            "confidence": options.extras.confidence,
            "overlay": options.extras.overlay,
            "allow_host_code": options.allow_host_code,
        }
        _LOG.info("%s runs on %s", self.path, self._runner.device)

    @classmethod
    def default(
        cls,
        *,
        refine: bool | tuple[int, int] = True,
        device: str = "auto",
        threads: int | None = None,
        color: str = "bgr",
        confidence: bool = False,
        overlay: float | None = None,
    ) -> Segmenter:
        """A segmenter with the model shipped inside the package; arguments as for :class:`Segmenter`.

        Raises:
            ArtifactError: this installation carries no model.
        """
        return cls(
            default_model_path(),
            refine=refine,
            device=device,
            threads=threads,
            color=color,
            confidence=confidence,
            overlay=overlay,
        )

    @property
    def categories(self) -> tuple[str, ...]:
        """Names in label order."""
        return self.artifact.category_names

    @property
    def device(self) -> str:
        """What the network really runs on: ``"cpu"``, ``"cuda"``, ``"tensorrt"`` or ``"tensorrt_rtx"``."""
        return self._runner.device

    @property
    def gpu(self) -> int | None:
        """Number of the GPU that it runs on, as CUDA counts them; ``None`` on the CPU."""
        return self._runner.gpu

    @property
    def fallback_reason(self) -> str | None:
        """Why the work is not done where it would be fastest although the run time supports it, or ``None``."""
        return self._runner.fallback_reason

    def __call__(self, frame: Any, color: str | None = None) -> Result:  # noqa: ANN401
        """Segment one frame.

        Args:
            frame: uint8 H x W x 3, grey H x W or H x W x 1, H x W x 4 (alpha ignored), any strides; or a PIL picture;
                or, where the segmenter works on the GPU, an array there (``__cuda_array_interface__`` or DLPack, uint8
                H x W x 3, rows any distance apart), which is read in place and must not change before the call returns.
            color: channel order of this frame, if not the segmenter's.

        Returns:
            The result at the frame's own resolution; it is the caller's for good.

        Raises:
            SourceError: the frame is empty, of another type or shape, or where this segmenter cannot read it.
            UsageError: the segmenter is closed, or ``color`` is unknown.
            DeviceError: the device failed.
        """
        self._use_own_process()
        order = self._order(color)
        with native_work:
            return self._runner.run(frame, order)

    def on_device(self, frame: Any, color: str | None = None, *, stream: Any = None) -> DeviceResult:  # noqa: ANN401
        """Segment one frame on the GPU and leave the result there.

        Nothing waits: the work is enqueued on the segmenter's own stream. See
        :class:`ifseg_rt.gpu.results.on_gpu.DeviceResult` for how long the result is valid and how readers are ordered.

        Args:
            frame: as for a call; on the GPU it must not change before the work is done.
            color: channel order of this frame, if not the segmenter's.
            stream: the caller's CUDA stream on the segmenter's GPU (address, ``__cuda_stream__``, or a stream of
                PyTorch or CuPy): what is enqueued there before happens before, what is enqueued there afterwards sees
                the result. Without it, a frame on the GPU is ordered by what its library says through DLPack or
                ``__cuda_array_interface__``.

        Raises:
            UsageError: this segmenter does not work on a GPU throughout, is closed, or an argument is invalid.
            SourceError: the frame is empty, of another type or shape, or on another GPU.
            DeviceError: the GPU failed, or does not take the stream.
        """
        self._use_own_process()
        order = self._order(color)
        with native_work:
            return self._runner.run_on_device(frame, order, stream)

    def stream(
        self,
        *sources: str | int | Path,
        policy: StreamPolicy | None = None,
        settings: SourceSettings | None = None,
        observer: Observer | None = None,
    ) -> SegmentedStream:
        """Label files, cameras and network streams while the next frames are read.

        Args:
            sources: as the command takes them: files, folders, patterns, ``0``, ``"rtsp://..."``, ``"-"``, ``"test:"``.
            policy: staleness, reconnecting, number of frames.
            settings: damaged frames, time limits, cameras' sizes.
            observer: is told of losses, reconnections and damaged frames.

        Returns:
            An iterable of :class:`ifseg_rt.stream.items.Labelled`, and a context manager. Leaving it, or the loop over
            it, stops all threads within two seconds.

        Raises:
            SourceError: a file does not exist, or nothing of it can be read.
            UsageError: an address or a setting is invalid.

        Example:
            >>> with Segmenter.default() as segmenter, segmenter.stream("rtsp://robot.local/front") as frames:
            ...     for seen in frames:
            ...         drive(seen.result.mask("road"), age_ms=seen.latency_ms)
        """
        from ifseg_rt.stream.segmented import SegmentedStream

        return SegmentedStream(self, sources, policy, settings, observer)

    def close(self) -> None:
        """Wait for a running call and free the model. May be called again."""
        if os.getpid() == self._process:
            self._runner.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (type(self), self._arguments, self.artifact.integrity)

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _order(self, color: str | None) -> ColorOrder:
        return self._color if color is None else color_order(color)

    def _use_own_process(self) -> None:
        """After a fork: the threads of the session stayed in the parent, and a call would wait for them for ever."""
        if os.getpid() == self._process:
            return
        if self._runner.gpu is not None:
            raise DeviceError(
                f"{self.path.name} was opened on a GPU before this process was forked, and CUDA does not survive that",
                hint='start processes with multiprocessing.get_context("spawn"), or open the Segmenter in them',
            )
        with _REOPENING:
            if os.getpid() != self._process:
                other: Segmenter = _reopened(type(self), self._arguments, self.artifact.integrity)
                self._runner, self._process = other._runner, other._process


_REOPENING = threading.Lock()
if hasattr(os, "register_at_fork"):
    # Another thread of the parent may have held it.
    os.register_at_fork(after_in_child=lambda: globals().update(_REOPENING=threading.Lock()))


def _reopened(kind: type[Segmenter], arguments: dict[str, Any], integrity: str) -> Segmenter:
    """A segmenter of the same model with the same settings, in this process."""
    segmenter = kind(**arguments)
    if segmenter.artifact.integrity != integrity:
        segmenter.close()
        raise ArtifactError(
            f"{segmenter.path} is not the model any more that it was when this Segmenter was opened",
            hint="open a new Segmenter",
        )
    return segmenter
