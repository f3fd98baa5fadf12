"""Scans of a JPEG file, and whether they hold the whole picture.

Decoders fill what is missing before the end marker with gray, without a word. Whether a file holds all of its picture
shows when further bytes are put before that marker: only a decoder that had too few reads them.

Follows ITU-T T.81: annex B for markers, G for progressive scans.
"""

import io
import re
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from trainables.errors import UnreadableImageError

_MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")
"""A marker that ends a scan's data; a stuffed zero byte and restart markers do not."""
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_PROGRESSIVE, _ARITHMETIC = frozenset({0xC2, 0xC6, 0xCA, 0xCE}), 0xC9
_SOS, _EOI, _DRI = 0xDA, 0xD9, 0xDD
_FURTHER = bytes((7 * k * k + 91 * k + 45) % 251 for k in range(4096))
_COMPARED = 64
"""Rows at the bottom, among which there is a block of every scan's end."""
_LEAST_BLOCK_BITS = 1 / 64
"""Bits that a pixel takes at least: a progressive file's first scan has one for each block of 64."""


@dataclass(frozen=True, slots=True)
class Scans:
    """Contents of a JPEG file as its markers state them.

    Attributes:
        frame: The marker's code of the frame, such as 0xC0 for baseline.
        components: Identifiers of the colour components.
        precision: Bits to which each coefficient of each component is known: its missing low bits, -1 for all.
        intervals: Restart intervals that are missing, over all scans.
        end: Offset of the end of the last scan's data.
    """

    frame: int
    components: tuple[int, ...]
    precision: dict[int, list[int]]
    intervals: int
    end: int


def read_scans(data: bytes) -> Scans:
    """Walks through the markers up to the end of the first picture.

    Raises:
        UnreadableImageError: If there is no frame or no scan.
    """
    frame, header, precision, place, end = 0, b"", {}, 2, 0
    interval, missing = 0, 0
    while place + 4 <= len(data):
        if data[place] != 0xFF:
            following = _MARKER.search(data, place)  # stray bytes between segments, which decoders pass over
            if following is None:
                break
            place = following.start()
            continue
        code = data[place + 1]
        if code == 0xFF:
            place += 1
        elif code == _EOI:
            break
        elif code in (0x00, 0x01) or 0xD0 <= code <= 0xD8:
            place += 2
        else:
            (length,) = struct.unpack_from(">H", data, place + 2)
            segment = data[place + 4 : place + 2 + length]
            place += 2 + max(length, 2)
            if code in _FRAMES and not frame:
                frame, header = code, segment
                precision = {component: [-1] * 64 for component in segment[6 : 6 + 3 * segment[5] : 3]}
            elif code == _DRI:
                (interval,) = struct.unpack(">H", segment)
            elif code == _SOS:
                _note_scan(segment, precision)
                following = _MARKER.search(data, place)
                end = following.start() if following else len(data)
                if interval:
                    found = len(_RESTART.findall(data, place, end)) + 1
                    missing += max(0, -(-_units(header, segment) // interval) - found)
                place = end
    if not frame or not end:
        raise UnreadableImageError("the JPEG is cut short: it holds no picture; copy it again")
    return Scans(frame, tuple(precision), precision, missing, end)


def can_hold(data: bytes, width: int, height: int) -> bool:
    """Returns True if so few bytes can be so many pixels; arithmetic coding has no such limit."""
    return width * height * _LEAST_BLOCK_BITS <= 8 * len(data) or b"\xff\xc9" in data or b"\xff\xca" in data


def check_complete(data: bytes, image: ImageFile.ImageFile) -> None:
    """Makes sure that a JPEG file holds the whole picture.

    Args:
        data: The file.
        image: The same, decoded, not yet turned.

    Raises:
        UnreadableImageError: If scans are missing or the last one ends early.
    """
    scans = read_scans(data)
    missing = any(-1 in known if scans.frame not in _PROGRESSIVE else any(known) for known in scans.precision.values())
    if missing or scans.intervals:
        raise UnreadableImageError("the JPEG is cut short: it lacks parts of its picture; copy it again")
    if scans.frame >= _ARITHMETIC:
        return  # an arithmetic encoder leaves out zero bytes at the end, and decoders add them
    with JpegImageFile(io.BytesIO(data[: scans.end] + _FURTHER + b"\xff\xd9")) as longer:
        if not np.array_equal(_bottom(longer), _bottom(image)):
            raise UnreadableImageError("the JPEG is cut short: its data end before its picture; copy it again")


def _note_scan(segment: bytes, precision: dict[int, list[int]]) -> None:
    count = segment[0]
    first, last, bits = segment[1 + 2 * count : 4 + 2 * count]
    for k in range(count):
        known = precision.get(segment[1 + 2 * k], [0] * 64)
        for coefficient in range(first, min(last, 63) + 1):
            known[coefficient] = bits & 15


def _units(frame: bytes, scan: bytes) -> int:
    """Counts the units that a scan is coded in: blocks of one component, or of all in turn (A.2)."""
    height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    sampling = {frame[6 + 3 * k]: divmod(frame[7 + 3 * k], 16) for k in range(frame[5])}
    across, down = (max(component[axis] for component in sampling.values()) for axis in (0, 1))
    if scan[0] > 1:
        return -(-width // (8 * across)) * -(-height // (8 * down))
    columns, rows = sampling[scan[1]]
    return -(-width * columns // across // 8) * -(-height * rows // down // 8)


def _bottom(image: ImageFile.ImageFile) -> NDArray[np.uint8]:
    image.load()
    return np.asarray(image.crop((0, max(0, image.height - _COMPARED), image.width, image.height)))
