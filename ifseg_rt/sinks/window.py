"""A window on the screen, where there is one."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import cv2

from ifseg_rt.native_noise import native_noise_hidden

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ESCAPE, _NO_KEY = 27, -1
# A display that cannot be reached makes Qt abort the whole process, so a child asks first.
_PROBE = "import cv2; cv2.namedWindow('ifseg-rt'); cv2.waitKey(1); cv2.destroyAllWindows()"
_PROBE_SECONDS = 15


def why_no_window() -> str | None:
    """Why no window can be shown here, or ``None`` where one can."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "there is no display (DISPLAY and WAYLAND_DISPLAY are not set)"
    gui = [line for line in cv2.getBuildInformation().splitlines() if line.strip().startswith("GUI:")]
    if gui and "NONE" in gui[0]:
        return "this OpenCV was built without windows (opencv-python-headless)"
    try:
        probe = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, timeout=_PROBE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "the display does not answer"
    return None if probe.returncode == 0 else "the display cannot be opened"


class Window:
    """Shows frames; ``q`` or Escape, or closing it, ends the run."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._opened = False

    def show(self, picture: NDArray[np.uint8], caption: str) -> bool:
        """Show one H x W x 3 uint8 BGR picture; ``False`` once the user wants to stop."""
        if not self._opened:
            self._open(picture)
        cv2.imshow(self._title, picture)
        cv2.setWindowTitle(self._title, caption)
        return not _wants_to_stop(cv2.waitKey(1)) and self._visible()

    def hold(self) -> None:
        """Keep the last picture until a key is pressed or the window is closed."""
        while self._opened and self._visible() and cv2.waitKey(50) == _NO_KEY:
            pass

    def close(self) -> None:
        """Close the window; may be called twice."""
        if self._opened:
            cv2.destroyAllWindows()
            self._opened = False

    def _open(self, picture: NDArray[np.uint8]) -> None:
        with native_noise_hidden():  # Qt complains about fonts that a window without text does not need
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
            cv2.resizeWindow(self._title, picture.shape[1], picture.shape[0])
            cv2.imshow(self._title, picture)
            cv2.waitKey(1)
        self._opened = True

    def _visible(self) -> bool:
        return cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1


def _wants_to_stop(key: int) -> bool:
    return key != _NO_KEY and (key & 0xFF) in (_ESCAPE, ord("q"))
