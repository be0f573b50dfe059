"""A result that stays on the GPU, offered through DLPack and ``__cuda_array_interface__``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from ifseg_rt.frames import ColorOrder
    from ifseg_rt.gpu.device import Gpu
    from ifseg_rt.gpu.memory import Region
    from ifseg_rt.gpu.results.reader import DeviceMemoryResult, ResultReader
    from ifseg_rt.result import Result

_CUDA = 2  # DLDeviceType


class DeviceArray:
    """A contiguous array on the GPU, readable by every library that speaks DLPack or ``__cuda_array_interface__``.

    ``torch.from_dlpack(result.labels)`` and ``cupy.asarray(result.labels)`` take it without a copy. Both protocols make
    the reader's stream wait for the segmenter's, so no synchronisation is needed before reading.

    Attributes:
        shape: its lengths.
        dtype: NumPy type of its elements.
        address: where it begins on the GPU.
    """

    def __init__(self, reader: ResultReader, gpu: Gpu, result: DeviceMemoryResult, region: Region) -> None:
        self._reader = reader
        self._gpu = gpu
        self._result = result
        self._region = region
        self.shape: tuple[int, ...] = region.shape
        self.dtype: np.dtype[Any] = region.dtype
        self.address: int = result.memory.address + region.offset

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        # PyTorch does not look at "stream": what it does next in its default stream is ordered here.
        self._reader.show(self._result)
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "strides": None,
            "version": 3,
            "stream": self._gpu.stream_address,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return _CUDA, self._gpu.index

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:  # noqa: ANN401 - a PyCapsule
        """A DLPack capsule; ``stream`` is the reader's, as the array API says: ``None`` the default one, -1 none.

        Raises:
            BufferError: a copy or another device was asked for.
            UsageError: a later call has taken the memory.
        """
        if copy or (dl_device is not None and tuple(dl_device) != self.__dlpack_device__()):
            raise BufferError("arrays on the GPU are handed over where they are, without a copy")
        reader = None if stream == -1 else stream or 0
        return self._reader.hand_over(self._result, self._region, reader, max_version)


class DeviceResult:
    """Labels and probabilities of one frame on the GPU.

    **Lifetime.** They are valid until the next call of the segmenter, which writes the next result over them, or until
    it is closed; using a stale result is a :class:`UsageError`. An array that another library already took is not
    protected: its readers must be done, or be on the stream given to ``on_device``, before the next call.
    :meth:`copy` stays valid for good, :meth:`to_host` too.

    **Order.** The work is enqueued, not done, when ``on_device`` returns. The two protocols order readers behind it; so
    does ``on_device(..., stream=...)`` for that stream; :meth:`synchronize` waits on the host.

    Attributes:
        labels: H x W, uint8 (uint16 above 255 categories).
        probabilities: C x h x w float32 on the patch grid.
        confidence: H x W float32, see :attr:`ifseg_rt.Result.confidence`; ``None`` unless the segmenter was opened with
            ``confidence=True``.
        picture: the frame with the category colours over it, H x W x 3 uint8 in its own channel order; ``None`` unless
            the segmenter was opened with ``overlay``.
        categories: names in label order.
        colors: RGB colour (0..255) of every category.
        color: channel order of the frame.

    Example:
        >>> result = segmenter.on_device(cuda_frame)
        >>> labels = torch.from_dlpack(result.labels)
    """

    def __init__(
        self,
        reader: ResultReader,
        gpu: Gpu,
        result: DeviceMemoryResult,
    ) -> None:
        self._reader = reader
        self._gpu = gpu
        self._result = result
        self.categories: tuple[str, ...] = reader.categories
        self.colors: tuple[tuple[int, int, int], ...] = reader.colors
        self.color: ColorOrder = result.color
        self.labels = DeviceArray(reader, gpu, result, result.layout.labels)
        self.probabilities = DeviceArray(reader, gpu, result, result.layout.planes)
        self.confidence = self._array(result.layout.confidence)
        self.picture = self._array(result.layout.picture)

    def synchronize(self) -> None:
        """Wait until the result is there.

        Raises:
            DeviceError: the GPU failed, or the model computed values that are not finite.
            UsageError: a later call has taken the memory.
        """
        self._reader.finish(self._result)

    def to_host(self) -> Result:
        """The same result on the host; valid for good.

        Raises:
            DeviceError, UsageError: as for :meth:`synchronize`.
        """
        return self._reader.fetch(self._result)

    def copy(self) -> DeviceResult:
        """The same result in GPU memory of its own, valid for good.

        Raises:
            DeviceError: there is not enough memory.
            UsageError: a later call has taken the memory.
        """
        memory = self._reader.duplicate(self._result)
        kept = replace(self._result, memory=memory, is_valid=lambda: True)
        return DeviceResult(self._reader, self._gpu, kept)

    def _array(self, region: Region | None) -> DeviceArray | None:
        return None if region is None else DeviceArray(self._reader, self._gpu, self._result, region)
