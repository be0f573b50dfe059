"""What the little programs have in common: their register, a device, a stream and the driver."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cached_property
from importlib import import_module
from typing import Any

RULES: dict[str, tuple[Callable[[Rig], None], str]] = {}
THREAD_LOCAL = 1  # CUstreamCaptureMode


def breaks(line: str) -> Callable[[Callable[[Rig], None]], Callable[[Rig], None]]:
    """Registers a program with the line that the stand-in must report, or a part of it; empty for none."""

    def register(program: Callable[[Rig], None]) -> Callable[[Rig], None]:
        RULES[program.__name__] = program, line
        return program

    return register


class Rig:
    """A device, a stream that does not block the default one, and the driver, whose errors are passed over."""

    def __init__(self) -> None:
        self.core, self.driver = import_module("cuda.core"), import_module("cuda.bindings.driver")
        self.device = self.core.Device(0)
        self.device.set_current()
        self.stream = self.device.create_stream()
        self.mode = self.driver.CUstreamCaptureMode(THREAD_LOCAL)

    def call(self, name: str, *arguments: Any) -> Any:
        _, *values = getattr(self.driver, name)(*arguments)
        return values[0] if values else None

    def gpu_memory(self, size: int = 4096) -> int:
        return int(self.call("cuMemAllocAsync", size, self.stream.handle))

    def page_locked(self, size: int = 4096) -> int:
        return int(self.call("cuMemHostAlloc", size, 0))

    def copy(self, target: int, source: int, stream: Any = None) -> None:
        self.call("cuMemcpyAsync", target, source, 4096, (stream or self.stream).handle)

    def capture(self, work: Callable[[], Any], stream: Any = None) -> Any:
        handle = stream or self.stream.handle
        self.call("cuStreamBeginCapture", handle, self.mode)
        work()
        return self.call("cuStreamEndCapture", handle)

    def in_a_thread(self, work: Callable[[], Any]) -> None:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(timeout=60)

    @cached_property
    def transpose(self) -> Any:
        return import_module("ifseg_rt.kernels.compile").load("scores", (9, 0)).get_kernel("transpose")

    def launch(self, source: int, target: int, *, rows: int = 8, threads: int = 256, shared: int = 0) -> None:
        """The kernel that transposes ``rows`` x 8 floats."""
        numpy = import_module("numpy")
        tiles = -(-rows // 32)
        config = self.core.LaunchConfig(grid=(1, tiles, 1), block=(32, threads // 32, 1), shmem_size=shared)
        self.core.launch(self.stream, config, self.transpose, source, numpy.int32(rows), numpy.int32(8), target)
