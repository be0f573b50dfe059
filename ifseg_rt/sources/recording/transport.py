"""Whether the last pictures and sounds of an MPEG transport stream are whole; it has no end mark of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

_PACKET = 188  # bytes; Blu-ray discs put four more before each
_TAIL = 4 << 20  # bytes read from the end: more than any picture has


@dataclass
class _Unit:
    """The last unit (a picture, or some sound) of one of the streams within."""

    stated: int  # bytes; 0 where it is left open, as for most pictures
    found: int
    is_stuffed: bool  # whether its last packet was filled up, as every last packet is that would not be full


def cut_off_unit(file: BinaryIO, size: int) -> tuple[str, bool] | None:
    """Look at the last unit of each stream within a transport stream.

    Returns:
        What is missing, as part of a sentence, and whether that is certain: a last packet that is full by chance, one
        in 184, looks like one whose successor is missing. ``None`` where all are whole.
    """
    file.seek(0)
    step = _PACKET if file.read(1) == b"G" else _PACKET + 4
    if size % step:
        return f"its last packet has {size % step} of {step} bytes", True
    file.seek(max(0, size - _TAIL // step * step))
    tail = file.read()
    units: dict[int, _Unit] = {}
    for at in range(step - _PACKET, len(tail), step):
        _follow(tail[at : at + _PACKET], units)
    for unit in units.values():
        if unit.stated and unit.found < unit.stated:
            return f"its last sound or picture has {unit.found} of {unit.stated} bytes", True
    if any(not unit.stated and not unit.is_stuffed for unit in units.values()):
        return "its last picture seems to be cut off", False
    return None


def _follow(packet: bytes, units: dict[int, _Unit]) -> None:
    if len(packet) < _PACKET or packet[0] != 0x47:
        return
    stream = (packet[1] & 0x1F) << 8 | packet[2]
    filled = packet[4] if packet[3] & 0x20 else 0
    begin = 5 + filled if packet[3] & 0x20 else 4
    payload = packet[begin:] if packet[3] & 0x10 else b""
    if packet[1] & 0x40 and payload[:3] == b"\0\0\1":
        stated = int.from_bytes(payload[4:6], "big")
        units[stream] = _Unit(stated + 6 if stated else 0, len(payload), False)
    elif stream in units:
        units[stream].found += len(payload)
    if stream in units and payload:
        # One or two bytes are filled up by a field without content, more by a field that ends in 0xFF.
        units[stream].is_stuffed = bool(packet[3] & 0x20) and (filled <= 1 or packet[begin - 1] == 0xFF)
