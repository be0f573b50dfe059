"""Every error a user can meet, with the exit code the commands end with.

Each message says what was wrong, what was expected and what was found; ``hint`` says what to do about it.
"""

from __future__ import annotations

LISTED = "\n  - "  # begins an entry of a list in a message


class IfsegError(Exception):
    """Base of every error this project raises on purpose.

    Args:
        message: one line: what, expected, found.
        hint: one line: the remedy, or ``None`` where the message already is the remedy.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(_lines(message))
        self.hint = None if hint is None else _lines(hint)


def _lines(text: str) -> str:
    """The text with everything escaped that a terminal would obey: names of files and of tensors may hold anything."""
    parts = text.split(LISTED)
    return LISTED.join("".join(c if c.isprintable() else ascii(c)[1:-1] for c in part) for part in parts)


class UsageError(IfsegError):
    """An option or an argument that is invalid."""

    exit_code = 2


class SourceError(IfsegError):
    """A picture, video or camera that cannot be read, or a frame of the wrong kind."""

    exit_code = 3


class ArtifactError(IfsegError):
    """An exported model or its sidecar that is missing, foreign, edited or of another version."""

    exit_code = 4


class DeviceError(IfsegError):
    """A device, driver or run-time library that is missing or refuses to work."""

    exit_code = 5


class ExportError(IfsegError):
    """An export that failed or whose result does not compute the same as the model."""

    exit_code = 6


class CheckpointError(IfsegError):
    """A checkpoint that is missing, foreign, unsafe or does not fit the model."""

    exit_code = 7


class VocabularyError(IfsegError):
    """Categories that are empty, duplicate, impossible or doubtful as names, or unknown to the tokenizer."""

    exit_code = 8


def not_finite(device: str) -> DeviceError:
    """The error for a model that computed infinities or worse."""
    return DeviceError(
        f"the model computed values that are not finite on {device}",
        hint="run the .onnx model with --device cpu; if that helps, the precision is too low for this model",
    )


INTERRUPTED_EXIT_CODE = 130
