"""The pictures that an export is checked on, and those that integer ranges are taken from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ifseg_rt.errors import SourceError
from ifseg_rt.sources.pictures import PICTURE_SUFFIXES, read_picture

if TYPE_CHECKING:
    from numpy.typing import NDArray

Picture = tuple[str, "NDArray[np.uint8]"]

_MOST_PICTURES = 16
_SAMPLE = "sample.jpg"
# Others than those that the result is checked on.
_CALIBRATION_SEED, _CALIBRATION_PICTURES = 100, 6
_SYNTHETIC = ((480, 640), (333, 500), (720, 405))


def parity_pictures(folder: Path | None) -> list[Picture]:
    """Names and H x W x 3 uint8 BGR frames: those of ``folder``, or the shipped photo and synthetic ones.

    Of a large folder 16 pictures are taken, evenly spaced over the sorted names.

    Raises:
        SourceError: the folder is missing or holds no picture, or one of them cannot be read.
    """
    if folder is None:
        import ifseg_rt

        sample = Path(ifseg_rt.__file__).parent / "assets" / _SAMPLE
        photos = [(sample.name, read_picture(sample))] if sample.is_file() else []
        return photos + [
            (f"synthetic {height}x{width}", textured_picture(height, width, seed=seed))
            for seed, (height, width) in enumerate(_SYNTHETIC)
        ]
    try:
        if not folder.is_dir():
            raise SourceError(f"there is no folder of pictures {folder}", hint="name a folder: --pictures FOLDER")
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
    except OSError as error:  # a name that is too long, a folder without rights
        raise SourceError(f"cannot read the folder {str(folder)[:200]!r}: {error.strerror}") from error
    if not paths:
        raise SourceError(
            f"the folder {folder} holds no pictures", hint="expected .jpg, .png or the like directly in it"
        )
    chosen = sorted({round(i) for i in np.linspace(0, len(paths) - 1, min(_MOST_PICTURES, len(paths)))})
    return [(paths[i].name, read_picture(paths[i])) for i in chosen]


def calibration_pictures(folder: Path | None) -> list[Picture]:
    """Pictures that tell how large activations become: those of ``folder`` as above, or six synthetic ones.

    Raises:
        SourceError: as :func:`parity_pictures`.
    """
    if folder is not None:
        return parity_pictures(folder)
    seeds = range(_CALIBRATION_SEED, _CALIBRATION_SEED + _CALIBRATION_PICTURES)
    return [(f"synthetic {seed}", textured_picture(480, 640, seed=seed)) for seed in seeds]


def textured_picture(height: int, width: int, *, seed: int) -> NDArray[np.uint8]:
    """A picture with structure at every scale: coloured regions, gradients, edges, fine grain. Same seed, same picture.

    Flat areas are avoided: there all patches are equally similar, and the choice of neighbours is a matter of rounding.
    """
    random = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3), dtype=np.float32)
    for cells, strength in ((2, 90), (5, 60), (13, 40), (40, 25), (120, 15)):
        noise = random.standard_normal((cells, cells, 3)).astype(np.float32)
        mode = cv2.INTER_NEAREST if cells in (5, 13) else cv2.INTER_CUBIC  # regions with edges among smooth waves
        picture += strength * cv2.resize(noise, (width, height), interpolation=mode)
    picture += random.standard_normal(picture.shape).astype(np.float32) * 6
    return np.clip(picture + 128, 0, 255).astype(np.uint8)
