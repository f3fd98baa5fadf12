"""Whole-number tags of a TIFF's directories, classic or BigTIFF (TIFF 6.0, section 2; BigTIFF design, 2007).

GDAL hands on only some of them: neither Orientation nor the kind of ExtraSamples.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

SUBFILE, BITS, PHOTOMETRIC, ORIENTATION, SUB_IFDS, EXTRA_SAMPLES = 254, 258, 262, 274, 330, 338
WIDTH, HEIGHT, SAMPLES, SAMPLE_FORMAT, NODATA = 256, 257, 277, 339, 42113
REFERENCE_BLACK_WHITE, EXIF, GPS, DNG = 532, 34665, 34853, 50706

Tags = dict[int, tuple[int, ...]]
_CODES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_VALUES = 64
"""Most values of a tag that are read: enough for those above."""
_DIRECTORIES, _ENTRIES = 10_000, 65_536


def directories(path: Path) -> Iterator[Tags]:
    """The tags of each directory in the file's chain; ends where the chain does, comes back or cannot be read.

    Tags of other types are there without values.
    """
    with path.open("rb") as file:
        start = file.read(16)
        order = "<" if start.startswith(b"II") else ">"
        try:
            big = struct.unpack_from(order + "H", start, 2)[0] == 43
            (place,) = struct.unpack_from(order + ("Q" if big else "I"), start, 8 if big else 4)
            seen: set[int] = set()
            while place and place not in seen and len(seen) < _DIRECTORIES:
                seen.add(place)
                tags, place = _directory(file, place, order, big)
                yield tags
        except (struct.error, OSError, OverflowError, ValueError):
            return


def _directory(file: BinaryIO, place: int, order: str, big: bool) -> tuple[Tags, int]:
    counter, entry, following = (order + "Q", order + "HHQ8s", order + "Q") if big else ("", "", "")
    if not big:
        counter, entry, following = order + "H", order + "HHI4s", order + "I"
    file.seek(place)
    (count,) = struct.unpack(counter, file.read(struct.calcsize(counter)))
    if count > _ENTRIES:
        raise ValueError("too many entries")
    entries = file.read(count * struct.calcsize(entry))
    (after,) = struct.unpack(following, file.read(struct.calcsize(following)))
    tags: Tags = {}
    for tag, kind, number, value in struct.iter_unpack(entry, entries):
        tags[tag] = _values(file, order, kind, min(number, _VALUES), value, big) if kind in _CODES else ()
    return tags, after


def _values(file: BinaryIO, order: str, kind: int, number: int, value: bytes, big: bool) -> tuple[int, ...]:
    layout = f"{order}{number}{_CODES[kind]}"
    size = struct.calcsize(layout)
    if size > len(value):
        file.seek(struct.unpack(order + ("Q" if big else "I"), value)[0])
        value = file.read(size)
    return struct.unpack_from(layout, value)
