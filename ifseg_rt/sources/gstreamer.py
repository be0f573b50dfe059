"""Whatever GStreamer can read, where it and its bindings for Python are installed."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ifseg_rt.errors import SourceError, UsageError
from ifseg_rt.sources.connection import ConnectedSource, Items, now
from ifseg_rt.sources.decoding import check_size
from ifseg_rt.sources.network.urls import hide_credentials
from ifseg_rt.sources.settings import SourceSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SINK = "videoconvert ! video/x-raw,format=BGR ! appsink"
# The driver of a Jetson's cameras hands out frames in its own memory; nvvidconv brings them where others can read them.
_JETSON = "nvarguscamerasrc sensor-id={number} ! {caps} ! nvvidconv ! video/x-raw,format=BGRx"
_STEP = 100_000_000  # nanoseconds between looks at whether to stop


def jetson_camera(number: int, settings: SourceSettings) -> str:
    """The pipeline for the camera ``csi://number`` of a Jetson, with the size and rate the settings wish."""
    caps = "video/x-raw(memory:NVMM)"
    if settings.camera_size is not None:
        caps += f",width={settings.camera_size[0]},height={settings.camera_size[1]}"
    if settings.camera_fps is not None:
        caps += f",framerate={settings.camera_fps:.0f}/1"
    return _JETSON.format(number=number, caps=caps)


class GStreamerSource(ConnectedSource):
    """A GStreamer pipeline; its own ``appsink`` is taken, or one for BGR pictures is appended.

    Args:
        pipeline: as ``gst-launch-1.0`` takes it.
        settings: sizes and time limits.
        name: what people call it; the pipeline, where left out.

    Raises:
        UsageError: there is no pipeline.
    """

    def __init__(self, pipeline: str, settings: SourceSettings, name: str | None = None) -> None:
        pipeline = pipeline.strip().rstrip("!").strip()
        if not pipeline:
            raise UsageError("gst: names no pipeline", hint="for example: gst:'v4l2src device=/dev/video0'")
        shown = re.sub(
            r"((?:user|pass|token|secret|key)[\w-]*)=(\"[^\"]*\"|\S+)", r"\1=***", hide_credentials(pipeline)
        )
        super().__init__(name or f"gst:{shown}", "camera_" + name.rpartition("/")[2] if name else "gst")
        self._pipeline = pipeline
        self._settings = settings

    def _connect(self, stop: threading.Event) -> tuple[Items, Callable[[], None]]:
        gst, glib = _bindings(self.name)
        pipeline, sink = self._launched(gst, glib)
        bus = pipeline.get_bus()

        def release() -> None:
            pipeline.set_state(gst.State.NULL)

        pipeline.set_state(gst.State.PLAYING)
        try:
            first = self._pull(gst, sink, bus, stop, self._settings.open_timeout)
        except SourceError:
            release()
            raise
        if first is None:
            release()
            raise self._lost("was closed while it was being opened")
        return self._read(first, gst, sink, bus, stop), release

    def _read(self, first: Any, gst: Any, sink: Any, bus: Any, stop: threading.Event) -> Items:  # noqa: ANN401 (no types)
        sample = first
        while sample is not None:
            captured, taken = now()
            yield self._frame(self._picture(gst, sample), captured, taken)
            sample = self._pull(gst, sink, bus, stop, self._settings.read_timeout)

    def _launched(self, gst: Any, glib: Any) -> tuple[Any, Any]:  # noqa: ANN401 (no types)
        """Build the pipeline and find or append its end."""
        has_sink = re.search(r"\bappsink\b", self._pipeline)
        whole = self._pipeline if has_sink else f"{self._pipeline} ! {_SINK}"
        try:
            pipeline = gst.parse_launch(whole)
        except glib.Error as error:
            raise SourceError(
                f"{self.name} cannot be set up: {hide_credentials(_line(error.message))}",
                hint="try it with gst-launch-1.0 first; missing elements come with gstreamer1.0-plugins-*",
            ) from error
        sinks = pipeline.iterate_sinks() if hasattr(pipeline, "iterate_sinks") else None
        sink = None
        while sinks is not None and sink is None:
            answer, element = sinks.next()
            if answer != gst.IteratorResult.OK:
                break
            sink = element if element.get_factory().get_name() == "appsink" else None
        if sink is None:
            raise SourceError(f"{self.name} has nothing before its appsink")
        if sink.get_property("caps") is None:
            sink.set_property("caps", gst.Caps.from_string("video/x-raw,format=BGR"))
        sink.set_property("max-buffers", 1)  # the newest frame; older ones that nobody fetched are dropped
        sink.set_property("drop", True)
        sink.set_property("sync", False)
        return pipeline, sink

    def _pull(self, gst: Any, sink: Any, bus: Any, stop: threading.Event, patience: float) -> Any:  # noqa: ANN401
        """The next sample; ``None`` after ``stop``."""
        begun = now()[0]
        while not stop.is_set():
            sample = sink.emit("try-pull-sample", _STEP)
            if sample is not None:
                return sample
            message = bus.pop_filtered(gst.MessageType.ERROR | gst.MessageType.EOS)
            if message is not None and message.type == gst.MessageType.ERROR:
                error, _ = message.parse_error()
                where = message.src.get_name() if message.src is not None else "the pipeline"
                raise self._lost(f"failed in {where}: {hide_credentials(_line(error.message))}")
            if message is not None or sink.get_property("eos"):
                raise self._lost("ended")
            if now()[0] - begun > patience:
                raise self._lost(f"gave no picture for {patience:g} s")
        return None

    def _picture(self, gst: Any, sample: Any) -> NDArray[np.uint8]:  # noqa: ANN401 (no types)
        caps = sample.get_caps().get_structure(0)
        form, width, height = caps.get_string("format"), caps.get_int("width")[1], caps.get_int("height")[1]
        if form != "BGR":
            raise SourceError(
                f"{self.name} ends in {form or caps.get_name()} pictures, expected BGR", hint=f"end it with {_SINK}"
            )
        check_size(width, height, self.name, self._settings.max_pixels)
        buffer = sample.get_buffer()
        content = buffer.extract_dup(0, buffer.get_size())
        stride = -(-width * 3 // 4) * 4  # rows are padded to four bytes
        rows = np.frombuffer(content, dtype=np.uint8)[: stride * height].reshape(height, stride)
        return np.ascontiguousarray(rows[:, : width * 3].reshape(height, width, 3))


def _bindings(name: str) -> tuple[Any, Any]:
    try:
        import gi

        gi.require_version("Gst", "1.0")
        from gi.repository import GLib, Gst
    except (ImportError, ValueError) as error:
        raise SourceError(
            f"{name} needs GStreamer and its bindings for Python (PyGObject): {_line(str(error))}",
            hint="Debian, Ubuntu, Jetson: sudo apt install python3-gi gir1.2-gstreamer-1.0, and an environment made"
            " with --system-site-packages",
        ) from None
    if not Gst.is_initialized():
        Gst.init(None)
    return Gst, GLib


def _line(text: str) -> str:
    return " ".join(text.split())
