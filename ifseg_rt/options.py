"""Which device is meant: ``"auto"``, ``"cpu"``, or what runs the network on which GPU, ``"cuda:1"``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal, get_args

from ifseg_rt.errors import DeviceError, UsageError

Kind = Literal["auto", "cpu", "cuda", "tensorrt"]
_NUMBERED = ("cuda", "tensorrt")
EXPECTED = "auto, cpu, cuda, tensorrt, or cuda:N or tensorrt:N for GPU N"


@dataclass(frozen=True)
class DeviceChoice:
    """A device as it was asked for.

    Attributes:
        kind: what shall run the network.
        index: number of the GPU as CUDA counts those that ``CUDA_VISIBLE_DEVICES`` leaves, from 0; ``None`` where none
            was named.
    """

    kind: Kind = "auto"
    index: int | None = None

    @classmethod
    def parse(cls, text: str) -> DeviceChoice:
        """The device that ``text`` names.

        Raises:
            UsageError: it names none.
        """
        name, colon, number = str(text).partition(":")
        numbered = name in _NUMBERED and number.isascii() and number.isdecimal()
        for kind in get_args(Kind):
            if name == kind and (numbered or not colon):
                return cls(kind, int(number) if colon else None)
        raise UsageError(f"device must be {EXPECTED}; found {text!r}")

    @property
    def gpu(self) -> int:
        """Number of the GPU to use, should one be used: 0 where none was named."""
        return self.index or 0

    def __str__(self) -> str:
        return self.kind if self.index is None else f"{self.kind}:{self.index}"

    def require_gpu(self) -> None:
        """Make sure that there is such a GPU where one was named and there are any.

        Where CUDA has none at all, whatever should have run on it says why.

        Raises:
            DeviceError: this machine has GPUs, but not that one.
        """
        if self.index is None:
            return
        from ifseg_rt.machine import this_machine

        count = this_machine(self.index).gpus
        if 0 < count <= self.index:
            expected = f"{self.kind}:0" + (f" to {self.kind}:{count - 1}" if count > 1 else "")
            raise DeviceError(
                f'there is no device "{self}": expected {expected}, since CUDA finds {_gpus(count)} on this machine',
                hint=f"nvidia-smi -L lists the GPUs; {_visible()}",
            )


def _gpus(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"


def _visible() -> str:
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shown is None:
        return "CUDA_VISIBLE_DEVICES would hide and renumber them, and is not set"
    return f"CUDA_VISIBLE_DEVICES={shown} hides and renumbers them"
