"""Writes a black-and-white mask per picture: ``python examples/masks_of_a_folder.py PICTURES OUT WORD``."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from ifseg_rt import Segmenter


def main(pictures: Path, out: Path, word: str) -> None:
    """Mask every JPEG and PNG file of the folder for one word that the model knows."""
    out.mkdir(parents=True, exist_ok=True)
    with Segmenter.default() as segmenter:
        for path in sorted(pictures.iterdir()):
            if path.suffix.lower() not in {".jpg", ".jpeg", ".png"}:
                continue
            frame = cv2.imread(str(path))
            if frame is None:
                print(f"{path.name}: not readable, skipped")
                continue
            result = segmenter(frame)
            cv2.imwrite(str(out / f"{path.stem}.png"), result.mask(word).astype(np.uint8) * 255)
            print(f"{path.name}: {result.shares[word]:.0%} {word}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
