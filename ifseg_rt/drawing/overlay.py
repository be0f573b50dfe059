"""Pictures of a result: colours blended over the frame, and a legend of the classes present."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ifseg_rt.frames import ColorOrder

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_KNOWS_UNICODE = int(cv2.__version__.split(".")[0]) >= 5
_PANEL_OPACITY = 0.65
_SMALLEST_SHOWN_SHARE = 0.0005  # below 0.1 % after rounding, a class is a few stray pixels


@dataclass(frozen=True)
class LegendEntry:
    """One row of the legend; ``color`` is RGB, ``share`` in 0..1."""

    name: str
    color: tuple[int, int, int]
    share: float


def colorize(
    labels: NDArray[np.uint8] | NDArray[np.uint16], colors: Sequence[tuple[int, int, int]], order: ColorOrder
) -> NDArray[np.uint8]:
    """Paint a label map: H x W labels to H x W x 3 uint8, from RGB ``colors`` into channel order ``order``."""
    table = np.zeros((max(len(colors), 256), 3), dtype=np.uint8)
    table[: len(colors)] = np.asarray(colors, dtype=np.uint8)
    if order == "bgr":
        table = np.ascontiguousarray(table[:, ::-1])
    if labels.dtype == np.uint8:
        return cv2.applyColorMap(labels, table[:256].reshape(256, 1, 3))  # type: ignore[return-value]
    return table[labels]


def blend(frame: NDArray[np.uint8], painted: NDArray[np.uint8], alpha: float) -> NDArray[np.uint8]:
    """``(1 - alpha) * frame + alpha * painted``, rounded, as a new H x W x 3 uint8 picture."""
    return cv2.addWeighted(frame, 1.0 - alpha, painted, alpha, 0.0)  # type: ignore[return-value]


def overlay(
    frame: NDArray[np.uint8],
    labels: NDArray[np.uint8] | NDArray[np.uint16],
    colors: Sequence[tuple[int, int, int]],
    order: ColorOrder,
    alpha: float,
) -> NDArray[np.uint8]:
    """A new H x W x 3 uint8 picture: ``frame`` (channel order ``order``), the RGB ``colors`` of its labels over it."""
    return blend(frame, colorize(labels, colors, order), alpha)


def legend_entries(
    names: Sequence[str], colors: Sequence[tuple[int, int, int]], shares: Sequence[float]
) -> list[LegendEntry]:
    """Rows for the classes present, the largest first; classes under 0.05 % of the pixels are left out."""
    rows = [LegendEntry(*row) for row in zip(names, colors, shares, strict=True)]
    return sorted((row for row in rows if row.share >= _SMALLEST_SHOWN_SHARE), key=lambda row: -row.share)


def draw_legend(picture: NDArray[np.uint8], entries: Sequence[LegendEntry], order: ColorOrder) -> None:
    """Draw the legend into the top left corner of ``picture`` (H x W x 3 uint8), in place.

    Rows that do not fit the height are summed up in a last row "+N more".
    """
    height, width = picture.shape[:2]
    row = int(np.clip(height / 24, 14, 36))
    scale, thickness = row / 36, max(1, round(row / 18))
    room = max(1, (height - row) // row)
    shown, hidden = list(entries[:room]), list(entries[room:])
    if hidden:
        hidden.insert(0, shown.pop())
    texts = [f"{_drawable(entry.name)}  {100 * entry.share:.1f}%" for entry in shown]
    if hidden:
        texts.append(f"+{len(hidden)} more  {100 * sum(entry.share for entry in hidden):.1f}%")
    if not texts:
        return
    text_width = max(cv2.getTextSize(text, _FONT, scale, thickness)[0][0] for text in texts)
    margin, swatch = row // 3, int(row * 0.7)
    bottom, right = margin + row * len(texts) + margin, 4 * margin + swatch + text_width
    panel = picture[margin : min(height, bottom), margin : min(width, right)]
    panel[:] = (panel * (1.0 - _PANEL_OPACITY)).astype(np.uint8)
    for index, text in enumerate(texts):
        top = 2 * margin - margin // 4 + index * row
        left = 2 * margin
        if index < len(shown):
            color = shown[index].color if order == "rgb" else shown[index].color[::-1]
            corner = (left + swatch, top + swatch)
            cv2.rectangle(picture, (left, top), corner, color, cv2.FILLED)
        origin = (left + swatch + margin, top + swatch - max(1, row // 10))
        cv2.putText(picture, text, origin, _FONT, scale, (255, 255, 255), thickness, cv2.LINE_AA)


def _drawable(name: str) -> str:
    # Up to OpenCV 4 the built-in fonts hold ASCII only and draw every other letter as several question marks.
    return name if _FONT_KNOWS_UNICODE else name.encode("ascii", "replace").decode()
