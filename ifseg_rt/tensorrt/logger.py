"""Collects what TensorRT says, so that a failure can be told in its own first words."""

from __future__ import annotations

import logging
import re
from typing import Any

_LOG = logging.getLogger(__name__)
_ERROR_LEVELS = ("INTERNAL_ERROR", "ERROR")
_PLACE = re.compile(r"^\[[\w:.]+::\d+\]\s*")  # "[file.cpp::function::130] "
_MEMORY = re.compile(r"Total Activation Memory: (\d+) bytes")


class Messages:
    """What was said so far.

    Attributes:
        errors: error lines in order.
        warnings: warning lines in order.
        device_memory: bytes of activations that the builder planned, the last word on it, or ``None``.
    """

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self.device_memory: int | None = None

    def add(self, level: str, text: str) -> None:
        """Take one message; ``level`` is the name of TensorRT's severity."""
        line = _PLACE.sub("", " ".join(text.split()))
        if level in _ERROR_LEVELS:
            self.errors.append(line)
        elif level == "WARNING":
            self.warnings.append(line)
        elif found := _MEMORY.search(line):
            self.device_memory = int(found.group(1))
        _LOG.debug("%s: %s", level, line)

    @property
    def first_error(self) -> str:
        """The first error; what follows is usually its echo."""
        return self.errors[0] if self.errors else "it gave no reason"


def make_logger(module: Any, messages: Messages) -> Any:  # noqa: ANN401 - a TensorRT module and its ILogger
    """A logger object of this TensorRT that fills ``messages``. It has to outlive whatever is made with it."""

    class Collector(module.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:  # noqa: ANN401
            # An exception would have to travel through C++ and end the process.
            try:
                messages.add(getattr(severity, "name", str(severity)), text)
            except Exception:
                _LOG.exception("a message of TensorRT was lost")

    return Collector()
