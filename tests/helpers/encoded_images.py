"""Small encoded images of every kind, and files taken apart and put together again."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

from trainables.images.png_chunks import SIGNATURE, Chunk


def picture(height: int = 40, width: int = 48, channels: int = 3) -> np.ndarray:
    """Colours that change from pixel to pixel, none of them black."""
    rows, columns = np.mgrid[0:height, 0:width]
    bands = [60 + 3 * columns + rows % 7, 250 - 4 * rows, 80 + (rows * columns) % 90]
    return np.dstack(bands[:channels]).clip(1, 255).astype(np.uint8)


def encoded(image: Any, kind: str = "PNG", **options: Any) -> bytes:
    """An array or a picture, encoded by Pillow."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(rows: bytes, width: int, height: int, bits: int = 8, colour: int = 2, interlaced: int = 0) -> bytes:
    """A PNG of filtered rows as they are given."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    chunks = [Chunk(b"IHDR", header), Chunk(b"IDAT", zlib.compress(rows)), Chunk(b"IEND", b"")]
    return SIGNATURE + b"".join(chunk.encoded() for chunk in chunks)


def exif(*entries: tuple[int, int, int, bytes], order: str = "<") -> bytes:
    """A TIFF block whose only directory has these entries: tag, type, count and four bytes."""
    body = b"".join(struct.pack(f"{order}HHI", *entry[:3]) + entry[3] for entry in entries)
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    return start + struct.pack(f"{order}H", len(entries)) + body + struct.pack(f"{order}I", 0)


def turned(value: int, order: str = "<") -> bytes:
    """An EXIF block that says how its picture is turned."""
    return exif((0x0112, 3, 1, struct.pack(f"{order}HH", value, 0)), order=order)


def with_tag(data: bytes, tag: int, value: int) -> bytes:
    """A little-endian TIFF with another value of a tag that it has."""
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    place = next(
        start + 2 + 12 * k for k in range(count) if struct.unpack_from("<H", data, start + 2 + 12 * k)[0] == tag
    )
    return data[: place + 2] + struct.pack("<HII", 4, 1, value) + data[place + 12 :]
