"""What a forked child inherits and cannot use: sessions of native libraries, whose threads stayed in the parent."""

from __future__ import annotations

import ctypes
import os
import weakref
from contextlib import suppress
from typing import Any

_open: weakref.WeakSet[Any] = weakref.WeakSet()
_children: list[int] = []


def watch(held: object) -> None:
    """Keep an object that owns native threads from being freed in a forked child, where that would wait for ever."""
    if not _children:
        _children.append(os.getpid())
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_leave_alone)
    _open.add(held)


def _leave_alone() -> None:
    for held in list(_open):
        # One reference that nobody gives back: not at the end of the process either.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(held))
    _open.clear()
    # ONNX Runtime ends threads of its own when the process ends. There are none in a child, and 1.31 waits for them for
    # ever, so that an os.fork() child would never exit. What is registered last comes first: when Python is done, the
    # child leaves at once, with the status that it has.
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.on_exit(library._exit, None)
