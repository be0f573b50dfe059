"""What the segmenter returns for one frame."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ifseg_rt.drawing import overlay as draw
from ifseg_rt.errors import SourceError, UsageError, VocabularyError
from ifseg_rt.frames import ColorOrder, as_color_frame
from ifseg_rt.upsampling.labels import upsample_confidence

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Result:
    """Labels, probabilities and pictures for one frame.

    Attributes:
        labels: H x W at the frame's own resolution, uint8 (uint16 above 255 categories); index into ``categories``.
        probabilities: C x h x w float32 on the patch grid, refined unless refinement was off.
        categories: names in label order.
        colors: RGB colour (0..255) of every category.
        color: channel order of the frame given, and of the pictures made here.
        timings: milliseconds of each stage: preprocess, inference, refinement, upsampling (on the GPU also upload and
            download, and only when asked for), and ``"total"``. On the host also confidence and overlay, where the
            segmenter makes them; the GPU makes them together with the labels.
        picture: the frame with the category colours blended over it, H x W x 3 uint8 in the frame's channel order,
            without a legend; ``None`` unless the segmenter was opened with ``overlay``. It may be drawn into.
        known_confidence: what :attr:`confidence` gives where the segmenter was opened with ``confidence=True``.

    Example:
        >>> result = segmenter(frame)
        >>> free = result.mask("road")
        >>> result.shares["road"]
        0.31
    """

    labels: NDArray[np.uint8] | NDArray[np.uint16]
    probabilities: NDArray[np.float32]
    categories: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    color: ColorOrder = "bgr"
    timings: Mapping[str, float] = field(default_factory=dict)
    picture: NDArray[np.uint8] | None = None
    known_confidence: NDArray[np.float32] | None = field(default=None, repr=False)

    @cached_property
    def shares(self) -> dict[str, float]:
        """Share of the frame's pixels (0..1) of every category, also of the absent ones."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.categories))
        return {name: float(count) / self.labels.size for name, count in zip(self.categories, counts, strict=True)}

    @cached_property
    def confidence(self) -> NDArray[np.float32]:
        """H x W float32: the up-sampled probability of each pixel's own label.

        That is ``probabilities`` of this result, bilinearly up-sampled with half-pixel centres, every operation rounded
        to float32: the same bits wherever it is computed. With ``refine=False`` labels come from the logits, and this
        still is the probability, so another class may be the more probable one at a border between two.

        The segmenter brings it when opened with ``confidence=True``; otherwise the host computes it when first asked.
        """
        if self.known_confidence is not None:
            return self.known_confidence
        return upsample_confidence(self.probabilities, self.labels)

    def mask(self, name: str) -> NDArray[np.bool_]:
        """H x W bool: the pixels labelled ``name``.

        Raises:
            VocabularyError: the model has no such category.
        """
        if name not in self.categories:
            close = difflib.get_close_matches(name, self.categories, n=1)
            raise VocabularyError(
                f"there is no category {name!r}; this model has: {', '.join(self.categories)}",
                hint=f"did you mean {close[0]!r}?" if close else None,
            )
        return np.equal(self.labels, self.categories.index(name))

    def overlay(self, frame: Any, alpha: float = 0.5, *, legend: bool = False) -> NDArray[np.uint8]:  # noqa: ANN401
        """The frame with the category colours blended over it; a new H x W x 3 uint8 picture in the frame's own order.

        Args:
            frame: the frame this result came from (array or PIL picture).
            alpha: 0 shows only the frame, 1 only the colours.
            legend: also draw the names and shares of the categories present.

        Raises:
            SourceError: the frame has another size than the labels.
            UsageError: ``alpha`` is outside 0..1.
        """
        if not 0.0 <= alpha <= 1.0:
            raise UsageError(f"alpha must lie in 0..1, found {alpha}")
        picture, order = as_color_frame(frame, self.color)
        if picture.shape[:2] != self.labels.shape:
            (height, width), (rows, columns) = picture.shape[:2], self.labels.shape
            raise SourceError(f"this result belongs to a frame of {columns} x {rows} pixels, found {width} x {height}")
        blended = draw.overlay(picture, self.labels, self.colors, order, alpha)
        if legend:
            self._draw_legend(blended, order)
        return blended

    def draw_legend(self, picture: NDArray[np.uint8]) -> None:
        """Draw names and shares of the categories present into the top left corner of a picture, in place.

        Args:
            picture: H x W x 3 uint8 in the frame's channel order, of any size; :attr:`picture`, say.
        """
        self._draw_legend(picture, self.color)

    def _draw_legend(self, picture: NDArray[np.uint8], order: ColorOrder) -> None:
        shares = list(self.shares.values())
        draw.draw_legend(picture, draw.legend_entries(self.categories, self.colors, shares), order)
