"""Frames of PyTorch that lie on the GPU are labelled there; nothing is copied to the host until it is asked for."""

from __future__ import annotations

import sys

import torch

from ifseg_rt import Segmenter


def main() -> None:
    """Label frames of noise on the GPU and count the labels there."""
    if not torch.cuda.is_available():
        sys.exit("this example needs an NVIDIA GPU and a PyTorch with CUDA")
    with Segmenter.default(device="cuda", color="rgb") as segmenter:
        for _ in range(3):
            frame = torch.randint(0, 256, (480, 640, 3), dtype=torch.uint8, device="cuda")
            result = segmenter.on_device(frame)  # valid until the next call
            labels = torch.from_dlpack(result.labels)
            counts = torch.bincount(labels.flatten().long(), minlength=len(segmenter.categories))
            print(f"{segmenter.categories[int(counts.argmax())]} fills most of the frame")


if __name__ == "__main__":
    main()
