"""A web server with what cameras and web servers send, and settings that do not wait long."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from ifseg_rt.sources.settings import SourceSettings

FRAMES = 20


@pytest.fixture
def settings() -> SourceSettings:
    """Return settings under which a frozen source is lost after a second."""
    return SourceSettings(open_timeout=2.0, read_timeout=1.0)


@pytest.fixture(scope="session")
def jpeg() -> bytes:
    """Return one small JPEG."""
    return bytes(cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1])


def container(form: str, codec: str = "mpeg4", path: Path | None = None, **options: str) -> bytes:
    """Return a video of 20 frames, 10 a second, 64 x 48, with a key frame every 8, as bytes."""
    file = io.BytesIO()
    with av.open(file if path is None else str(path), "w", format=form, options=options) as output:
        stream: Any = output.add_stream(codec, rate=10)
        stream.gop_size = 8
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for number in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 10 * number, np.uint8), format="bgr24")
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return file.getvalue() if path is None else path.read_bytes()


@pytest.fixture(scope="session")
def mp4(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return an MP4 whose index comes first."""
    return container("mp4", path=tmp_path_factory.mktemp("web") / "x.mp4", movflags="+faststart")


class WebServer:
    """Serves what a test puts into :attr:`pages`: status, kind of content, parts, and what happens after them.

    ``then`` is ``"close"``, ``"cut"`` (a length was stated that is not reached) or ``"silence"``.
    """

    def __init__(self) -> None:
        self.pages: dict[str, tuple[int, str, list[bytes], str]] = {}
        self.over = threading.Event()
        pages, over = self.pages, self.over

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, kind, parts, then = pages.get(
                    self.path.partition("?")[0], (404, "text/plain", [b"none"], "close")
                )
                self.send_response(status)
                self.send_header("Content-Type", kind)
                if not kind.startswith("multipart"):
                    length = sum(map(len, parts))
                    self.send_header("Content-Length", str(2 * length if then == "cut" else length))
                self.end_headers()
                try:
                    for part in parts:
                        self.wfile.write(part)
                        if kind.startswith("multipart"):
                            time.sleep(0.02)
                except OSError:
                    return
                if then == "silence":
                    over.wait()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def put(self, path: str, *parts: bytes, kind: str = "text/plain", status: int = 200, then: str = "close") -> str:
        """Offer something; returns its address."""
        self.pages[path] = (status, kind, list(parts), then)
        return self.url + path

    def put_mjpeg(self, path: str, jpeg: bytes, count: int, then: str) -> str:
        """Offer pictures one after the other, as web cameras do."""
        part = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(jpeg), jpeg)
        return self.put(path, *[part] * count, kind="multipart/x-mixed-replace; boundary=frame", then=then)

    def close(self) -> None:
        """End every answer and the server."""
        self.over.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def web() -> Iterator[WebServer]:
    """Return a web server of this machine."""
    server = WebServer()
    yield server
    server.close()


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    """Return a video of this machine that no server may make us read."""
    path = tmp_path / "own.ts"
    path.write_bytes(container("mpegts"))
    return path
