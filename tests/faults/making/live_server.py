"""A camera on the network: numbered frames by HTTP, and every way in which such a server fails.

As a program (``python -m tests.faults.making.live_server ts FOLDER``) it prints its address and serves until killed.
"""

from __future__ import annotations

import argparse
import io
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import av
import cv2

from tests.faults.making.clips import FPS, Recipe, make_clip
from tests.faults.making.numbering import numbered

LIVE_FRAMES = 1000  # 40 seconds
_RECIPE = Recipe("mkv", "libx264", (("preset", "ultrafast"), ("tune", "zerolatency"), ("g", "10"), ("crf", "20")))
_BOUNDARY = b"frame"


def make_live_clip(path: Path, frames: int = LIVE_FRAMES) -> Path:
    """Encode what a server of kind ``ts`` sends."""
    return make_clip(path, _RECIPE, range(frames))


class LiveServer:
    """Sends frames in real time from its start on; who connects again later gets what is shown then.

    Args:
        kind: ``"ts"`` (MPEG transport stream) or ``"mjpeg"`` (JPEG pictures, multipart).
        clip: from :func:`make_live_clip`.
        frames: how many the clip has; then connections end.
        answer: ``"ok"``, ``"404"``, ``"html"`` (a page instead of pictures) or ``"silent"`` (accepts, says nothing).

    Attributes:
        port: where it listens on 127.0.0.1.
    """

    def __init__(self, kind: str, clip: Path, *, answer: str = "ok", frames: int = LIVE_FRAMES) -> None:
        self._sending = threading.Event()
        self._kind, self._clip, self._answer, self._frames = kind, clip, answer, frames
        self._began = time.monotonic()
        self._running = threading.Event()
        self._running.set()
        self._garbage = 0
        self._sockets: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self._guard = threading.Lock()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    @property
    def address(self) -> str:
        """Where it is found."""
        return f"http://127.0.0.1:{self.port}/cam"

    def start(self) -> None:
        """Begin to listen."""
        self._sending.clear()
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen()
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def wait_for_viewer(self, seconds: float) -> None:
        """Wait until somebody has been sent a frame since the last start, at most so long."""
        self._sending.wait(seconds)

    def kill(self, *, abruptly: bool = False) -> None:
        """Stop listening and end all connections, with an ordinary end or with a reset."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.drop(abruptly=abruptly)

    def drop(self, *, abruptly: bool = False) -> None:
        """End all connections, but go on listening."""
        with self._guard:
            sockets, self._sockets = self._sockets, []
        for connection in sockets:
            try:
                if abruptly:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                else:
                    connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # the other side was faster
            finally:
                connection.close()

    def freeze(self) -> None:
        """Keep every connection, and send nothing."""
        self._running.clear()

    def thaw(self) -> None:
        """Send again."""
        self._running.set()

    def rewind(self) -> None:
        """Begin with the first frame again."""
        self._began = time.monotonic()

    def spoil(self, bytes_: int) -> None:
        """Put noise over so many of the next bytes."""
        self._garbage = bytes_

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._guard:
                self._sockets.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            while b"\r\n\r\n" not in connection.recv(65536):
                pass
            if self._answer == "silent":
                return
            if self._answer in ("404", "html"):
                status = b"404 Not Found" if self._answer == "404" else b"200 OK"
                connection.sendall(b"HTTP/1.0 " + status + b"\r\nContent-Type: text/html\r\n\r\n<html>no</html>" * 9)
                connection.close()
            elif self._kind == "ts":
                self._head(connection, b"video/mp2t")
                self._send_ts(connection)
            else:
                self._head(connection, b"multipart/x-mixed-replace; boundary=" + _BOUNDARY)
                self._send_jpegs(connection)
        except OSError:
            return  # dropped by a fault, or the reader has gone

    def _head(self, connection: socket.socket, kind: bytes) -> None:
        connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: " + kind + b"\r\nCache-Control: no-cache\r\n\r\n")

    def _send(self, connection: socket.socket, data: bytes) -> None:
        self._running.wait()
        if self._garbage:
            spoilt = min(self._garbage, len(data))
            self._garbage -= spoilt
            data = random.Random(len(data)).randbytes(spoilt) + data[spoilt:]
        connection.sendall(data)
        self._sending.set()

    def _moments(self) -> Iterator[int]:
        """The numbers of the frames, each when its time has come; those missed during a freeze never come."""
        number = self._now() + 1
        while number < self._frames:
            time.sleep(max(0.0, self._began + number / FPS - time.monotonic()))
            self._running.wait()
            yield number
            number = max(number + 1, self._now())

    def _now(self) -> int:
        return int((time.monotonic() - self._began) * FPS)

    def _send_jpegs(self, connection: socket.socket) -> None:
        for number in self._moments():
            data = cv2.imencode(".jpg", numbered(number))[1].tobytes()
            head = b"--" + _BOUNDARY + b"\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data)
            self._send(connection, head + data + b"\r\n")

    def _send_ts(self, connection: socket.socket) -> None:
        first = self._now()
        for number, data in enumerate(transport_stream(self._clip, first), first):
            if data:
                time.sleep(max(0.0, self._began + number / FPS - time.monotonic()))
                self._send(connection, data)


def transport_stream(clip: Path, first: int) -> Iterator[bytes]:
    """Yield what each frame of a clip from number ``first`` on adds to a stream, which begins with a key frame."""
    with av.open(str(clip)) as container:
        buffer = io.BytesIO()
        sent = av.open(buffer, "w", format="mpegts", options={"flush_packets": "1"})
        stream = sent.add_stream_from_template(container.streams.video[0])
        begun = False
        for packet in [packet for packet in container.demux(video=0) if packet.size][first:]:
            begun |= packet.is_keyframe
            if begun:
                packet.stream = stream
                sent.mux(packet)
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()


def _send_udp(clip: Path, port: int) -> None:
    """Send the clip to a port of this machine, over and over, without asking whether anybody listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        while True:
            for data in transport_stream(clip, 0):
                for start in range(0, len(data), 7 * 188):
                    try:
                        out.sendto(data[start : start + 7 * 188], ("127.0.0.1", port))
                    except ConnectionRefusedError:
                        continue
                time.sleep(1 / FPS)


def main() -> None:
    """Serve until killed; a clip that is over begins again."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.making.live_server", description=__doc__)
    parser.add_argument("kind", choices=("ts", "mjpeg", "udp"))
    parser.add_argument("folder", type=Path, help="where to put the clip")
    parser.add_argument("--port", type=int, help="of udp")
    options = parser.parse_args()
    clip = make_live_clip(options.folder / "live.mkv")
    if options.kind == "udp":
        _send_udp(clip, options.port)
    server = LiveServer(options.kind, clip)
    server.start()
    print(server.address, flush=True)
    while True:
        time.sleep((LIVE_FRAMES - 100) / FPS)
        server.rewind()


if __name__ == "__main__":
    main()
