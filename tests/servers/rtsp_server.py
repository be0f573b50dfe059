"""An RTSP server with the test pattern's stamp in every frame. A program for a Python that has GStreamer's bindings.

It runs outside the tests' own environment, so it imports nothing but the bindings: python3-gi,
gir1.2-gst-rtsp-server-1.0 and gstreamer1.0-plugins-{base,good,bad,ugly} on Debian.

    python3 tests/servers/rtsp_server.py PORT [--size 640x480] [--fps 25] [--keyframes 25] [--b-frames 0]

It serves rtsp://127.0.0.1:PORT/cam and prints "ready".
"""

from __future__ import annotations

import argparse
import time
import zlib

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 (versions come first)

ROWS, COLUMNS = 4, 24  # as in ifseg_rt.sources.pattern, which reads it


def blocks(number: int, seconds: float) -> list[int]:
    """Return the levels of the 4 x 24 blocks: 32 bits number, 52 bits microseconds, 12 bits checksum below them."""
    body = round(seconds * 1e6) << 32 | number & 0xFFFFFFFF
    value = body << 12 | zlib.crc32(body.to_bytes(11, "little")) & 0xFFF
    return [235 if value >> place & 1 else 16 for place in range(ROWS * COLUMNS)]


class Pattern(GstRtspServer.RTSPMediaFactory):  # type: ignore[misc]
    """One encoder for all viewers; frames are made while somebody watches."""

    def __init__(self, width: int, height: int, fps: int, keyframes: int, b_frames: int) -> None:
        super().__init__()
        self.size, self.fps, self.number = (width, height), fps, 0
        tune = f"b-adapt=false bframes={b_frames}" if b_frames else "tune=zerolatency"
        self.launch = (
            f"( appsrc name=frames is-live=true do-timestamp=true format=time"
            f" caps=video/x-raw,format=I420,width={width},height={height},framerate={fps}/1"
            f" ! x264enc {tune} speed-preset=ultrafast key-int-max={keyframes} bitrate=2000"
            f" ! rtph264pay name=pay0 pt=96 config-interval=1 )"
        )
        self.set_shared(True)

    def do_create_element(self, url: object) -> object:
        """Make the encoder when the first viewer comes."""
        return Gst.parse_launch(self.launch)

    def do_configure(self, media: object) -> None:
        """Push a frame per tick until the viewers have gone."""
        frames = media.get_element().get_by_name_recurse_up("frames")  # type: ignore[attr-defined]
        GLib.timeout_add(1000 // self.fps, lambda: self.push(frames))

    def push(self, frames: object) -> bool:
        """Make one frame; False ends the ticking."""
        width, height = self.size
        levels = blocks(self.number, time.time())
        rows = [bytes(levels[row * COLUMNS + x * COLUMNS // width] for x in range(width)) for row in range(ROWS)]
        band = height // 8
        stamp = b"".join(rows[y * ROWS // band] for y in range(band))
        line = bytes((x + self.number * 4) & 255 for x in range(width))
        buffer = Gst.Buffer.new_wrapped(stamp + line * (height - band) + bytes([128]) * (width * height // 2))
        self.number += 1
        return bool(frames.emit("push-buffer", buffer) == Gst.FlowReturn.OK)  # type: ignore[attr-defined]


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port")
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--keyframes", type=int, default=25)
    parser.add_argument("--b-frames", type=int, default=0)
    wishes = parser.parse_args()
    width, height = map(int, wishes.size.split("x"))
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(wishes.port)
    server.get_mount_points().add_factory("/cam", Pattern(width, height, wishes.fps, wishes.keyframes, wishes.b_frames))
    server.attach(None)
    print("ready", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
