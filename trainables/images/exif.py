"""EXIF blocks read and changed in place, entry by entry, so that nothing else in them has to be understood.

Cameras write entries that no library can write again; a block is never taken apart here. Follows TIFF 6.0 (1992,
section 2) and Exif 3.0 (CIPA DC-008-2023).
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_PREFIX = b"Exif\0\0"
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_ORIENTATION, _DENSITIES, _DIMENSIONS, _EXIF_IFD = 0x0112, (0x011A, 0x011B), (0xA002, 0xA003), 0x8769
_BYTE, _SHORT, _LONG, _RATIONAL = 1, 3, 4, 5
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|>)\s*)([1-8])")


@dataclass(frozen=True, slots=True)
class _Entry:
    tag: int
    kind: int
    count: int
    place: int
    """Offset of the four bytes that hold the value or point to it."""


def orientation(block: bytes | None, xmp: bytes | None = None) -> int:
    """Returns how the picture is turned, 1 to 8, as EXIF or else XMP says it; 1, upright, where neither does."""
    found = _orientation_of_exif(_without_prefix(block)) if block else None
    if found is None and xmp:
        match = _XMP_ORIENTATION.search(xmp)
        found = int(match[2]) if match else None
    return found or 1


def upscaled_exif(block: bytes, scale: int, width: int, height: int) -> bytes | None:
    """Updates a block so that it describes the upscaled, upright picture.

    The orientation becomes 1, densities are multiplied, dimensions in pixels are those of the output, and the thumbnail
    is unlinked. All else stays byte for byte, place and time included.

    Args:
        block: A TIFF block, with or without the prefix of a JPEG segment.
        scale: Scale factor r.
        width: Columns of the output.
        height: Its rows.

    Returns:
        The block without prefix; None if it cannot be read.
    """
    result = bytearray(_without_prefix(block))
    order = _ORDERS.get(bytes(result[:4]))
    if order is None:
        return None
    try:
        (first,) = struct.unpack_from(f"{order}I", result, 4)
        entries = list(_entries(result, order, first))
        inner = [_value(result, order, entry) for entry in entries if entry.tag == _EXIF_IFD]
        entries += [entry for start in inner if start for entry in _entries(result, order, start)]
        for entry in entries:
            _change(result, order, entry, scale, {_DIMENSIONS[0]: width, _DIMENSIONS[1]: height})
        (count,) = struct.unpack_from(f"{order}H", result, first)
        if first + 2 + 12 * count + 4 <= len(result):
            struct.pack_into(f"{order}I", result, first + 2 + 12 * count, 0)
    except struct.error:
        return None
    return bytes(result)


def upright_xmp(xmp: bytes) -> bytes:
    """Sets the orientation in an XMP packet to upright."""
    return _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)


def _without_prefix(block: bytes) -> bytes:
    return block.removeprefix(_PREFIX)


def _orientation_of_exif(block: bytes) -> int | None:
    order = _ORDERS.get(block[:4])
    if order is None:
        return None
    try:
        (first,) = struct.unpack_from(f"{order}I", block, 4)
        for entry in _entries(block, order, first):
            if entry.tag == _ORIENTATION:
                value = _value(block, order, entry)
                return value if value in range(1, 9) else None
    except struct.error:
        pass  # cut short before the entry
    return None


def _entries(block: bytes | bytearray, order: str, start: int) -> Iterator[_Entry]:
    (count,) = struct.unpack_from(f"{order}H", block, start)
    for k in range(count):
        place = start + 2 + 12 * k
        tag, kind, values = struct.unpack_from(f"{order}HHI", block, place)
        yield _Entry(tag, kind, values, place + 8)


def _value(block: bytes | bytearray, order: str, entry: _Entry) -> int | None:
    letter = {_BYTE: "B", _SHORT: "H", _LONG: "I"}.get(entry.kind)
    return int(struct.unpack_from(order + letter, block, entry.place)[0]) if letter and entry.count else None


def _change(block: bytearray, order: str, entry: _Entry, scale: int, sides: dict[int, int]) -> None:
    letter = "H" if entry.kind == _SHORT else "I"
    if entry.kind in (_SHORT, _LONG) and entry.count:
        value = 1 if entry.tag == _ORIENTATION else sides.get(entry.tag)
        if value is not None and value < 1 << (8 * struct.calcsize(letter)):
            struct.pack_into(order + letter, block, entry.place, value)
    elif entry.tag in _DENSITIES and entry.kind == _RATIONAL:
        (place,) = struct.unpack_from(f"{order}I", block, entry.place)
        (dots,) = struct.unpack_from(f"{order}I", block, place)
        if dots * scale < 1 << 32:
            struct.pack_into(f"{order}I", block, place, dots * scale)
