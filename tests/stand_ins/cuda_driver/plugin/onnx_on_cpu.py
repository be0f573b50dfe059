"""A pytest plugin for runs over the stand-in: ONNX Runtime's CPU provider takes the place of its CUDA provider.

The one seam is the session. It is opened for the CPU, says that all of it is on the GPU, and when it is run it only
enqueues its work in the stream that our own code gave it, where it reads and writes the GPU's memory. Whether ONNX
Runtime's CUDA provider takes memory, waits or synchronises in between is not shown by this.
"""

from __future__ import annotations

import ctypes
import os
import sys
import traceback
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest

from ifseg_rt.backends.onnx_runtime import session as onnx_session

driver = ctypes.CDLL(os.environ["DRIVER_STAND_IN"])
WORK = ctypes.CFUNCTYPE(ctypes.c_int)
driver.stand_in_enqueue.argtypes = [ctypes.c_void_p, WORK]
open_session = onnx_session.open_session
available = onnxruntime.get_available_providers


class Binding:
    """An I/O binding whose places on the GPU are told to the CPU provider as its own."""

    def __init__(self, binding: Any) -> None:
        self.real = binding

    def bind_input(self, name: str, kind: str, device: int, *place: Any) -> None:
        assert (kind, device) == ("cuda", 0)
        self.real.bind_input(name, "cpu", 0, *place)

    def bind_output(self, name: str, kind: str, device: int, *place: Any) -> None:
        assert (kind, device) == ("cuda", 0)
        self.real.bind_output(name, "cpu", 0, *place)


class Session:
    """A session of the CPU provider that works in a stream."""

    def __init__(self, session: Any, stream: int) -> None:
        self.real, self.stream = session, stream
        self.get_inputs, self.get_outputs = session.get_inputs, session.get_outputs
        self.kept: list[Any] = []  # recordings call it again and again

    def get_providers(self) -> list[str]:
        return [onnx_session.CUDA, onnx_session.CPU]

    def get_provider_graph_assignment_info(self) -> list[Any]:
        return [SimpleNamespace(ep_name=onnx_session.CUDA, get_nodes=lambda: ["all of them"])]

    def io_binding(self) -> Binding:
        return Binding(self.real.io_binding())

    def run_with_iobinding(self, binding: Binding, options: Any) -> None:
        def work() -> int:
            try:
                self.real.run_with_iobinding(binding.real, options)
            except Exception:
                traceback.print_exc(file=sys.stderr)
                return 1
            return 0

        self.kept.append(WORK(work))
        status = driver.stand_in_enqueue(self.stream, self.kept[-1])
        if status != 0:
            raise RuntimeError(f"the network cannot be launched: {status}")


def open_in_stream(runtime: Any, model: Any, providers: Sequence[Any], threads: int | None) -> Any:
    settings = dict(provider for provider in providers if not isinstance(provider, str))
    if onnx_session.CUDA not in settings:
        return open_session(runtime, model, providers, threads)
    session = open_session(runtime, model, [onnx_session.CPU], 1)
    return Session(session, int(settings[onnx_session.CUDA]["user_compute_stream"]))


def pytest_configure(config: pytest.Config) -> None:
    onnxruntime.get_available_providers = lambda: [onnx_session.CUDA, *available()]
    onnx_session.open_session = open_in_stream
