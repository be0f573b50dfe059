"""Whatever a caller calls a frame, as one plain kind: contiguous H x W x 3 uint8, colour order known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ifseg_rt.errors import SourceError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ORIENTATION = 0x0112
ColorOrder = Literal["bgr", "rgb"]


def color_order(name: str) -> ColorOrder:
    """Check a colour order given by a caller.

    Raises:
        UsageError: it is neither ``"bgr"`` nor ``"rgb"``.
    """
    if isinstance(name, str) and name in ("bgr", "rgb"):
        return "bgr" if name == "bgr" else "rgb"
    found = repr(name) if isinstance(name, str) and len(name) < 60 else type(name).__name__
    raise UsageError(f'color must be "bgr" (as OpenCV gives frames) or "rgb", found {found}')


def as_color_frame(
    frame: Any,  # noqa: ANN401
    color: ColorOrder,
    *,
    contiguous: bool = True,
) -> tuple[NDArray[np.uint8], ColorOrder]:
    """Bring one frame into the form H x W x 3 uint8, C-contiguous.

    Args:
        frame: uint8 array H x W x 3 in ``color`` order; grey H x W or H x W x 1 (repeated three times);
            H x W x 4 (the alpha channel is dropped, not blended); any strides; or a PIL picture, which is set upright
            as its EXIF data say.
        color: order of the array's channels; a PIL picture is always RGB.
        contiguous: ``False`` leaves the strides as they are, for callers that copy the frame anyway.

    Returns:
        The frame (not copied when it already has the form) and its colour order.

    Raises:
        SourceError: anything else, with what was expected and what was found.
    """
    if _is_pil(frame):
        return _from_pil(frame), "rgb"
    array = _checked_array(frame)
    if array.ndim == 2:
        array = array[:, :, np.newaxis]
    channels = array.shape[2]
    if channels == 1:
        array = np.broadcast_to(array, (*array.shape[:2], 3))
    elif channels == 4:
        array = array[:, :, :3]
    # OpenCV takes no negative or zero strides; a frame from a camera or a file is contiguous and is not copied.
    return np.ascontiguousarray(array) if contiguous else array, color


def _is_pil(frame: Any) -> bool:  # noqa: ANN401
    return type(frame).__module__.split(".")[0] == "PIL" or (hasattr(frame, "getbands") and hasattr(frame, "convert"))


def _from_pil(picture: Any) -> NDArray[np.uint8]:  # noqa: ANN401
    mode = str(picture.mode)
    if mode.startswith("I") or mode == "F":
        # PIL clips these to 0..255 instead of scaling them: a 16-bit picture would turn white without a word.
        raise SourceError(
            f"a PIL picture of mode {mode!r} has more than 8 bits a channel; expected 8 bits",
            hint="scale it to 0..255 and convert it to RGB first",
        )
    try:
        pixels = np.asarray(picture.convert("RGB"), dtype=np.uint8)
        turn = picture.getexif().get(_ORIENTATION, 1) if hasattr(picture, "getexif") else 1
    except (OSError, ValueError, SyntaxError, EOFError) as error:  # PIL reads a file when its pixels are asked for
        raise SourceError(
            f"the PIL picture cannot be read: {error}", hint="its file is cut off, damaged or was closed too early"
        ) from error
    array = np.ascontiguousarray(_upright(pixels, turn))
    if array.size == 0:
        raise SourceError(f"the frame is empty: it has shape {array.shape}")
    return array


def _upright(pixels: NDArray[np.uint8], turn: Any) -> NDArray[np.uint8]:  # noqa: ANN401 (EXIF data hold anything)
    """Turn a picture as EXIF's tag Orientation says: 1 is upright, 5 to 8 lie on their side, half of them mirrored."""
    if turn not in range(2, 9):
        return pixels
    if turn >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if turn in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels[::-1] if turn in (3, 4, 7, 8) else pixels


def _checked_array(frame: Any) -> NDArray[np.uint8]:  # noqa: ANN401
    if frame is None:
        raise SourceError(
            "the frame is None: expected a picture", hint="check what the file reader or the camera returned"
        )
    if not isinstance(frame, np.ndarray):
        found = f"{type(frame).__module__}.{type(frame).__qualname__}"
        hint = "convert it first: frame.cpu().numpy()" if hasattr(frame, "numpy") else None
        raise SourceError(f"a frame must be a NumPy array or a PIL picture, found {found}", hint=hint)
    if isinstance(frame, np.ma.MaskedArray):
        # The mask would be dropped without a word, and what lies under it labelled.
        raise SourceError(
            "a frame must be a plain array, found a masked one",
            hint="fill it first: frame.filled(0), or take frame.data",
        )
    if frame.ndim not in (2, 3) or (frame.ndim == 3 and frame.shape[2] not in (1, 3, 4)):
        planar = frame.ndim == 3 and frame.shape[0] in (1, 3, 4)
        hint = "the channels come last: frame.transpose(1, 2, 0)" if planar else None
        if frame.ndim == 4:
            hint = "pass the frames of a batch one by one"
        raise SourceError(
            f"a frame must have shape H x W, H x W x 1, H x W x 3 or H x W x 4, found {frame.shape}", hint=hint
        )
    if frame.size == 0:
        raise SourceError(f"the frame is empty: it has shape {frame.shape}")
    if frame.dtype != np.uint8:
        scale = np.issubdtype(frame.dtype, np.floating)
        hint = "for values in 0..1: (frame * 255).round().astype('uint8')" if scale else "scale it to 0..255 first"
        raise SourceError(f"a frame must be uint8 with values 0..255, found {frame.dtype}", hint=hint)
    return frame.view(np.ndarray)  # a matrix, say, keeps two axes whatever it is asked for
