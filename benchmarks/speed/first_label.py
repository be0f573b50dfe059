"""From pressing enter to the first label, as a user waits for it: interpreter, import, model, one frame."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from ifseg_rt.errors import IfsegError

_PROGRAM = """
import sys, time
started = time.perf_counter()
import ifseg_rt
imported = time.perf_counter()
import json
import numpy
height, width, threads = (int(text) for text in sys.argv[2:5])
frame = numpy.full((height, width, 3), 127, numpy.uint8)
opening = time.perf_counter()
with ifseg_rt.Segmenter(sys.argv[1], threads=threads or None) as segmenter:
    opened = time.perf_counter()
    segmenter(frame)
    labelled = time.perf_counter()
times = {"import_ms": imported - started, "load_ms": opened - opening, "first_frame_ms": labelled - opened}
print(json.dumps({name: round(1e3 * seconds, 1) for name, seconds in times.items()}))
"""


def first_label(model: Path, frame: tuple[int, int], threads: int | None) -> dict[str, float]:
    """Time one start, as the operating system sees it.

    Args:
        model: the exported model, or an engine.
        frame: height and width of the frame.
        threads: of the run time; ``None`` for its own choice.

    Returns:
        Milliseconds: ``import_ms`` of ``ifseg_rt``, ``load_ms`` of the model, ``first_frame_ms``, and
        ``first_label_ms``, the whole process.

    Raises:
        IfsegError: the process failed; it has said why on stderr.
    """
    command = [sys.executable, "-c", _PROGRAM, str(model), *map(str, frame), str(threads or 0)]
    started = time.perf_counter()
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    whole = round(1e3 * (time.perf_counter() - started), 1)
    if answer.returncode:
        raise IfsegError(f"{model} gave no first label", hint="the reason stands above")
    times: dict[str, float] = json.loads(answer.stdout)
    return {**times, "first_label_ms": whole}
