"""What a file holds, told by its first bytes; its name is only asked where they tell nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ifseg_rt.sources.content.pages import is_animated_gif, is_animated_png, tiff_pages

Family = Literal["picture", "animation", "video", "other", "unknown"]

PICTURE_SUFFIXES = frozenset(
    {
        *(".avif", ".bmp", ".dib", ".gif", ".hdr", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pfm"),
        *(".pgm", ".pic", ".png", ".pnm", ".ppm", ".pxm", ".tif", ".tiff", ".webp"),
    }
)
VIDEO_SUFFIXES = frozenset(
    {
        *(".3g2", ".3gp", ".asf", ".avi", ".flv", ".h264", ".h265", ".hevc", ".ivf", ".m2ts", ".m2v", ".m4v"),
        *(".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogv", ".ts", ".vob"),
        *(".webm", ".wmv", ".y4m"),
    }
)
_JPEGS_IN_A_ROW = frozenset({".mjpeg", ".mjpg"})  # begin like one JPEG
HEAD = 4096  # bytes
# Pictures of a kind that nothing here reads; other programs turn them into one that is read.
DRAWN = frozenset(
    {
        *("HEIC", "JPEG XL", "JPEG-LS", "OpenEXR picture", "PDF document", "Photoshop document"),
        *("PostScript document", "SVG drawing", "icon", "raw photo"),
    }
)


@dataclass(frozen=True)
class Kind:
    """What a file is.

    Attributes:
        family: ``picture``, ``animation`` (pictures with times, in one picture format), ``video``, ``other`` (known,
            and nothing that can be labelled) or ``unknown``.
        name: the name of the format, such as ``JPEG``; empty where it is unknown.
        pages: how many pictures a file of pages holds.
    """

    family: Family
    name: str = ""
    pages: int = 1


_UNKNOWN = Kind("unknown")
# Looked for in this order; what needs a second look comes before, in kind_of.
_BEGINNINGS: tuple[tuple[bytes, Kind], ...] = (
    (b"BM", Kind("picture", "BMP")),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", Kind("picture", "JPEG 2000")),
    (b"\xff\x4f\xff\x51", Kind("picture", "JPEG 2000")),
    (b"#?RADIANCE", Kind("picture", "Radiance HDR")),
    (b"#?RGBE", Kind("picture", "Radiance HDR")),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", Kind("other", "JPEG XL")),
    (b"\xff\x0a", Kind("other", "JPEG XL")),
    (b"8BPS", Kind("other", "Photoshop document")),
    (b"\x76\x2f\x31\x01", Kind("other", "OpenEXR picture")),
    (b"%PDF", Kind("other", "PDF document")),
    (b"%!PS", Kind("other", "PostScript document")),
    (b"\x00\x00\x01\x00", Kind("other", "icon")),
    (b"FUJIFILMCCD-RAW", Kind("other", "raw photo")),
    (b"\x00\x05\x16\x07", Kind("other", "AppleDouble file")),
    (b"#EXTM3U", Kind("other", "playlist")),
    (b"ffconcat version", Kind("other", "list of files")),
    (b"v=0\r\n", Kind("other", "session description")),
    (b"v=0\n", Kind("other", "session description")),
    (b"PK\x03\x04", Kind("other", "ZIP archive")),
    (b"\x1f\x8b", Kind("other", "gzip archive")),
    (b"ID3", Kind("other", "music")),
    (b"fLaC", Kind("other", "music")),
    (b"\x1a\x45\xdf\xa3", Kind("video", "Matroska")),
    (b"FLV\x01", Kind("video", "Flash video")),
    (b"\x00\x00\x01\xba", Kind("video", "MPEG")),
    (b"\x00\x00\x01\xb3", Kind("video", "MPEG")),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", Kind("video", "Windows Media")),
    (b"DKIF", Kind("video", "IVF")),
    (b"YUV4MPEG2", Kind("video", "YUV4MPEG")),
    (b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02", Kind("video", "MXF")),
    (b"nut/multimedia", Kind("video", "NUT")),
)
_BOX = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"skip", b"free", b"styp", b"pnot"})
_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"})
_MARKUP = re.compile(rb"\A(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*|<!--.*?-->\s*|<!DOCTYPE[^>]*>\s*)*<(svg|MPD)\b", re.S)


def kind_of(path: Path) -> Kind:
    """Tell what a regular file is.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        kind = kind_of_head(file.read(HEAD))
    if kind.name == "JPEG" and path.suffix.lower() in _JPEGS_IN_A_ROW:
        return Kind("video", "MJPEG")
    if kind.name == "PNG" and is_animated_png(path):
        return Kind("animation", "APNG")
    if kind.name == "GIF" and is_animated_gif(path):
        return Kind("animation", "GIF")
    return Kind("picture", "TIFF", tiff_pages(path)) if kind.name == "TIFF" else kind


def kind_of_head(head: bytes) -> Kind:
    """Tell what begins with ``head``, its first :data:`HEAD` bytes; of pictures, not how many it holds."""
    if head.startswith(b"\xff\xd8\xff"):
        return Kind("other", "JPEG-LS") if head[3:4] == b"\xf7" else Kind("picture", "JPEG")
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return Kind("picture", "PNG")
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return Kind("picture", "GIF")
    if head[:4] == b"RIFF":
        return _riff(head)
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return Kind("picture", "TIFF")
    if re.match(rb"P[1-7fF]\s", head):
        return Kind("picture", "PFM" if head[1:2] in b"fF" else "PNM")
    if head[4:8] in _BOX:
        return _boxes(head)
    if _is_transport_stream(head):
        return Kind("video", "MPEG-TS")
    for beginning, kind in _BEGINNINGS:
        if head.startswith(beginning) and (beginning != b"BM" or head[6:10] == b"\0\0\0\0"):
            return kind
    markup = _MARKUP.match(head)
    if markup:
        return Kind("other", "SVG drawing" if markup[1] == b"svg" else "playlist")
    return _UNKNOWN


def kind_by_name(path: Path) -> Kind:
    """Tell what a file should be, where its content tells nothing: it may be empty or damaged at its beginning."""
    suffix = path.suffix.lower()
    if suffix in PICTURE_SUFFIXES:
        return Kind("picture", suffix[1:].upper())
    return Kind("video", suffix[1:].upper()) if suffix in VIDEO_SUFFIXES else _UNKNOWN


def _riff(head: bytes) -> Kind:
    form = head[8:12]
    if form == b"WEBP":
        animated = head[12:16] == b"VP8X" and len(head) > 20 and head[20] & 2
        return Kind("animation" if animated else "picture", "WebP")
    if form == b"WAVE":
        return Kind("other", "music")
    return Kind("video", "AVI") if form in (b"AVI ", b"AVIX") else _UNKNOWN


def _boxes(head: bytes) -> Kind:
    if head[4:8] != b"ftyp":
        return Kind("video", "QuickTime")
    size = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12]} | {head[at : at + 4] for at in range(16, size - 3, 4)}
    if b"avis" in brands:
        return Kind("animation", "AVIF")
    if b"avif" in brands:
        return Kind("picture", "AVIF")
    if head[8:12] in _HEIC | {b"mif1", b"msf1"} and not brands & {b"isom", b"mp41", b"mp42", b"qt  "}:
        return Kind("other", "HEIC")
    if head[8:12] == b"crx ":
        return Kind("other", "raw photo")
    return Kind("other", "music") if head[8:11] in (b"M4A", b"M4B") else Kind("video", "MP4")


def _is_transport_stream(head: bytes) -> bool:
    """Sync bytes every 188 bytes; Blu-ray discs put four bytes before each packet. A cut may begin within one."""
    return any(
        len(head) >= first + 4 * step and all(head[first + step * n] == 0x47 for n in range(4))
        for first, step in ((0, 188), (4, 192))
    )
