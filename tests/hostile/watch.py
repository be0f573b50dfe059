"""What no input may ever cause: a foreign error, a hang, code of a file that runs, a write outside the target."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from ifseg_rt.errors import IfsegError

PATIENCE = 60.0  # seconds for one case; the slowest honest one, an export, takes some ten
CANARY = "canary-of-hostile-files"
CODE = (
    f"__import__('os').system('touch {CANARY}')",
    f"$(touch {CANARY})",
    f"`touch {CANARY}`",
    f"!!python/object/apply:os.system ['touch {CANARY}']",
    f"; touch {CANARY} #",
)
WILD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1,
    2**31,
    10**20,
    10**400,
    1.5,
    -0.0,
    float("nan"),
    float("inf"),
    1e308,
    "",
    " ",
    "a" * 300,
    "a" * 5000,
    "a\0b",
    "line\nbreak",
    "\x1b[2J",
    "\ud800",
    "../outside",
    "/etc/passwd",
    "..",
    "\u202egnp",
    "%s%n{0}",
    [],
    [[]],
    {},
    {"a": 1},
    [1, 2, 3],
    ["x"] * 1000,
    *CODE,
)


class HangError(BaseException):
    """A case took longer than it may. No ``Exception``: nothing under test may take it for one of its own."""


@contextmanager
def patience(seconds: float = PATIENCE) -> Iterator[None]:
    """Raise :class:`HangError` in the main thread after that time."""

    def late(number: int, frame: FrameType | None) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def judged(work: Callable[[], str | None]) -> str | None:
    """What is wrong with how ``work`` ends; it may return a violation of its own, or raise one of our errors."""
    try:
        with patience():
            return work()
    except HangError:
        return f"it did not end in {PATIENCE:.0f} s"
    except IfsegError as error:
        return wordy(str(error)) or wordy(error.hint or "")
    except BaseException as error:
        return f"{type(error).__name__}: {str(error)[:200]}"


def wordy(text: str) -> str | None:
    """What is wrong with a message: more than a line (but lists of mismatches), C++ text, a bug's words."""
    if "\n" in text.replace("\n  - ", " "):
        return f"more than one line: {text[:200]!r}"
    found = [sign for sign in ("unexpected ", "Traceback", "onnxruntime::", "ONNXRuntimeError", ".cc:") if sign in text]
    return f"foreign words {found}: {text[:300]}" if found else None


def entries(folder: Path) -> set[str]:
    """Everything in a folder, by name."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
