"""The process that grabs a screen: ``python -m ifseg_rt.sources.screen.grab FORMAT WHAT [OPTION=VALUE ...]``.

A process of its own, and one that never loads OpenCV: its wheel and PyAV's both bring libxcb, and grabbing with both in
one process ends in a segmentation fault (opencv-python 5.0 imported before av 18.1). It imports nothing of this package
for the same reason. Each frame goes to standard output as :data:`HEADER` and height x width x 3 bytes BGR.
"""

from __future__ import annotations

import signal
import struct
import sys
import time
from collections.abc import Sequence

HEADER = struct.Struct("<IIdd")  # width, height, monotonic seconds, seconds since 1970


def main(arguments: Sequence[str]) -> int:
    """Grab until nobody listens; gives the exit code. The reason of a failure is the last line of standard error."""
    import av

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that reads; this one ends with its pipe
    grabber, what, *options = arguments
    out = sys.stdout.buffer
    try:
        with av.open(what, format=grabber, options=dict(option.split("=", 1) for option in options)) as container:
            for frame in container.decode(video=0):
                header = HEADER.pack(frame.width, frame.height, time.monotonic(), time.time())
                out.write(header)
                out.write(frame.to_ndarray(format="bgr24").tobytes())
                out.flush()
    except BrokenPipeError:
        return 0
    except (av.error.FFmpegError, OSError, ValueError) as error:
        sys.stderr.write(f"{getattr(error, 'strerror', None) or error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
