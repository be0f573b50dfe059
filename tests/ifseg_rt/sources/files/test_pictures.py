"""Pictures: by content, upright, in 8 bits, whole, and not larger than allowed."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import ifseg_rt
from ifseg_rt.errors import SourceError
from ifseg_rt.sources.base import Frame
from ifseg_rt.sources.find import find_sources
from ifseg_rt.sources.pictures import PictureSource, read_picture
from ifseg_rt.sources.settings import SourceSettings

FORMATS = [".jpg", ".png", ".bmp", ".webp", ".tif", ".ppm", ".gif", ".avif", ".jp2"]


def encoded(suffix: str, image: np.ndarray) -> bytes:
    try:
        return cv2.imencode(suffix, image)[1].tobytes()
    except cv2.error:
        pytest.skip(f"this OpenCV writes no {suffix}")


def noise(height: int = 40, width: int = 50) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png_header(width: int, height: int) -> bytes:
    """A PNG of 1 bit per pixel, all black: large, in a few bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = zlib.compress(bytes((1 + (width + 7) // 8) * height), 9)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", ["picture", "picture.jfif", "picture.mp4", "picture.png"])
def test_a_picture_is_known_by_its_content(tmp_path: Path, read: Any, suffix: str, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(encoded(suffix, noise()))
    (source,) = find_sources([str(path)]).found
    frames, events, error = read(source)
    assert (source.is_still, [frame.image.shape for frame in frames]) == (True, [(40, 50, 3)])
    assert (events, error) == ([], "")
    folder = find_sources([str(tmp_path)])
    assert ([found.name for found in folder.found], folder.left_out) == ([str(path)], ())


@pytest.mark.parametrize("suffix", FORMATS)
def test_cut_off_pictures_are_refused(tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / f"x{suffix}"
    content = encoded(suffix, noise())
    path.write_bytes(content)
    assert read_picture(path).shape == (40, 50, 3)
    for broken in (b"", content[: len(content) // 2], content[:20], b"not a picture"):
        path.write_bytes(broken)
        with pytest.raises(SourceError, match="is not a readable picture"):
            read_picture(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", FORMATS)
def test_too_large_is_refused_by_the_header(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(encoded(suffix, noise(40, 50)))
    read_picture(path, SourceSettings(max_pixels=2000))
    with pytest.raises(SourceError, match="50 x 40") as caught:
        read_picture(path, SourceSettings(max_pixels=1999))
    assert "--max-pixels 2000" in (caught.value.hint or "")


def test_a_small_file_that_declares_a_huge_picture_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(12000, 12000))
    assert path.stat().st_size < 30_000
    tracemalloc.start()
    with pytest.raises(SourceError, match="12000 x 12000"):
        list(PictureSource(path).items())
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_sixteen_bits(tmp_path: Path, read: Any, bits: int, suffix: str) -> None:
    largest = (1 << bits) - 1
    ramp = np.linspace(0, largest, 256).round().astype(np.uint16)
    path = tmp_path / f"x{suffix}"
    path.write_bytes(encoded(suffix, np.tile(ramp, (4, 1))))
    frames, events, _ = read(PictureSource(path))
    assert np.abs(frames[0].image[0, :, 0].astype(int) - np.arange(256)).max() <= 1
    assert [str(largest) in event.text for event in events] == ([] if bits == 16 else [True])


@pytest.mark.parametrize(("scale", "expected"), [(1.0, 255), (200.0, 200)])
def test_fractions(tmp_path: Path, read: Any, scale: float, expected: int) -> None:
    path = tmp_path / "x.tif"
    path.write_bytes(encoded(".tif", np.linspace(0, scale, 24, dtype=np.float32).reshape(4, 6)))
    frames, events, _ = read(PictureSource(path))
    assert (int(frames[0].image.min()), int(frames[0].image.max())) == (0, expected)
    assert [event.kind for event in events] == ["note"]


@pytest.mark.parametrize("value", [-1.0, 300.0, np.nan, np.inf])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_fractions_without_a_meaning_are_refused(tmp_path: Path, value: float, channels: int) -> None:
    path = tmp_path / "x.tif"
    path.write_bytes(encoded(".tif", np.full((2, 3, channels), value, dtype=np.float32)))
    with pytest.raises(SourceError, match="holds"):
        read_picture(path)


def test_grey_and_alpha(tmp_path: Path) -> None:
    for image in (np.zeros((5, 6), np.uint8), np.zeros((5, 6, 4), np.uint8)):
        (tmp_path / "x.png").write_bytes(encoded(".png", image))
        assert read_picture(tmp_path / "x.png").shape == (5, 6, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_turned_cameras(tmp_path: Path, form: str, orientation: int) -> None:
    pillow = pytest.importorskip("PIL.Image", reason="Pillow writes the EXIF data of this test")
    operations = pytest.importorskip("PIL.ImageOps", reason="Pillow writes the EXIF data of this test")
    quarters = np.zeros((32, 64, 3), dtype=np.uint8)
    quarters[:16, :32], quarters[:16, 32:], quarters[16:, :32] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    exif = pillow.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "x"
    try:
        pillow.fromarray(quarters).save(path, form, exif=exif, quality=100)
    except (OSError, KeyError):
        pytest.skip(f"this Pillow writes no {form}")
    with pillow.open(path) as picture:
        expected = np.asarray(operations.exif_transpose(picture).convert("RGB"), dtype=int)
    found = read_picture(path)[:, :, ::-1].astype(int)
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < 12


def test_every_page(tmp_path: Path, read: Any) -> None:
    path = tmp_path / "pages.tif"
    pages = [np.full((8, 9 + number, 3), 60 * number, np.uint8) for number in range(3)]
    assert cv2.imwritemulti(str(path), pages)
    sources = find_sources([str(path)]).found
    assert len({source.stem for source in sources}) == len({source.name for source in sources}) == 3
    for number, source in enumerate(sources):
        (frame,) = read(source)[0]
        assert (frame.image == pages[number]).all()
    assert read_picture(path).shape == (8, 9, 3)


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "AVIF"])
def test_animations_keep_their_times(tmp_path: Path, read: Any, form: str) -> None:
    pillow = pytest.importorskip("PIL.Image", reason="Pillow writes the animations of this test")
    pictures = [pillow.fromarray(np.full((32, 48, 3), 70 * number, np.uint8)) for number in range(3)]
    content = io.BytesIO()
    try:
        pictures[0].save(content, form, save_all=True, append_images=pictures[1:], duration=[100, 500, 30], loop=0)
    except (OSError, KeyError):
        pytest.skip(f"this Pillow writes no {form}")
    path = tmp_path / "moving"
    path.write_bytes(content.getvalue())
    (source,) = find_sources([str(path)]).found
    frames, events, error = read(source)
    assert (source.is_still, events, error) == (False, [], "")
    assert [frame.time for frame in frames] == pytest.approx([0, 0.1, 0.6])
    assert [frame.duration for frame in frames] == pytest.approx([0.1, 0.5, 0.03])
    assert [round(float(frame.image.mean()) / 70) for frame in frames] == [0, 1, 2]
    path.write_bytes(content.getvalue()[: int(len(content.getvalue()) * 0.7)])
    assert read(find_sources([str(path)]).found[0])[2]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "HEIC"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"8BPS\x00\x01", "Photoshop"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"%PDF-1.7", "PDF"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_name(tmp_path: Path, content: bytes, kind: str) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=kind):
        find_sources([str(path)])
    cv2.imwrite(str(tmp_path / "a.png"), noise())
    (left_out,) = find_sources([str(tmp_path)]).left_out
    assert left_out[0] == str(path)
    assert kind in left_out[1]


SAMPLE = Path(ifseg_rt.__file__).parent / "assets" / "sample.jpg"


def test_a_jpeg_that_is_damaged_inside_is_marked_or_left_out(tmp_path: Path) -> None:
    sound = SAMPLE.read_bytes()
    path = tmp_path / "a.jpg"
    path.write_bytes(sound)
    assert [frame.damaged for frame in frames_of(PictureSource(path))] == [False]
    random = np.random.default_rng(0)
    noticed = 0
    for _ in range(10):
        broken = bytearray(sound)
        for place in random.integers(len(sound) // 3, len(sound) - 2, 8):
            broken[place] ^= 0x5A
        path.write_bytes(broken)
        try:
            (frame,) = frames_of(PictureSource(path))
        except SourceError:
            noticed += 1
            continue
        noticed += frame.damaged
        if frame.damaged:
            with pytest.raises(SourceError, match="damaged"):
                frames_of(PictureSource(path, SourceSettings(corrupt="skip")))
    assert noticed >= 6


def frames_of(source: PictureSource) -> list[Frame]:
    return [item for item in source.items() if isinstance(item, Frame)]
