"""Supported encodings, recognised by their first bytes, and checks before a picture takes memory.

Only the plugins named here are ever asked, so that no file, whatever its name, starts a program or another decoder.
"""

import io
import struct
from collections.abc import Callable
from typing import Any, cast

from PIL import ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import jpeg_factory
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from trainables.errors import UnreadableImageError
from trainables.images import jpeg_scans, png_chunks

MOST_PIXELS = 1 << 29
"""537 million: a picture of that size takes 2 to 4 GB while it is decoded."""
MOST_SIDE = 1 << 20
"""Longest side in pixels; a library's table of rows takes more memory than the pixels of a longer, narrow picture."""
_SMALL, _MOST_PIXELS_PER_BYTE = 1 << 26, 10_000
"""From that many pixels on, a file that holds more of them in a byte is nothing but one colour, or a bomb."""

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    **{start: "TIFF" for start in TIFF_STARTS},
    b"BM": "BMP",
}
_OPENERS: dict[str, Callable[[Any], ImageFile.ImageFile]] = {
    "PNG": PngImageFile,
    "JPEG": cast(Callable[[Any], ImageFile.ImageFile], jpeg_factory),
    "TIFF": TiffImageFile,
    "BMP": BmpImageFile,
    "WEBP": WebPImageFile,
}
_OTHERS = {
    b"GIF8": "a GIF",
    b"%PDF": "a PDF",
    b"%!": "PostScript",
    b"\xc5\xd0\xd3\xc6": "PostScript",
    b"8BPS": "a Photoshop file",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"PK\x03\x04": "a ZIP archive",
    b"<": "XML or a web page",
    b"version https://git-lfs": "a pointer of Git LFS, whose file was not fetched",
}
_FTYP = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF"}
_NAMES = "PNG, JPEG, TIFF, WebP or BMP"


def format_of(data: bytes) -> str:
    """Returns PNG, JPEG, TIFF, BMP or WEBP by a file's first bytes.

    Raises:
        UnreadableImageError: If it is none of these.
    """
    for start, name in _MAGIC.items():
        if data.startswith(start):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    other = next((name for start, name in _OTHERS.items() if data.startswith(start)), None)
    other = other or (_FTYP.get(data[8:12]) if data[4:8] == b"ftyp" else None)
    if other:
        raise UnreadableImageError(f"not an image that can be decoded: it is {other}; save it as {_NAMES}")
    if not data:
        raise UnreadableImageError("not an image that can be decoded: it is empty")
    raise UnreadableImageError("not an image that can be decoded")


def open_image(data: bytes) -> ImageFile.ImageFile:
    """Reads the header of an image, by the one plugin for its first bytes, and no pixels.

    Raises:
        UnreadableImageError: If it is of no format that is read, or too large.
        Exception: Whatever Pillow raises of a damaged header.
    """
    kind = format_of(data)
    if kind == "WEBP" and (size := _webp_size(data)):  # whose plugin reserves the memory at once
        check_size(*size, data, kind)
    image = _OPENERS[kind](io.BytesIO(data))
    check_size(image.width, image.height, data, kind)
    return image


def check_size(width: int, height: int, data: bytes, kind: str) -> None:
    """Refuses what would take too much memory, before it does.

    Raises:
        UnreadableImageError: If there are too many pixels, or more than the file can hold.
    """
    size = f"{width}×{height} pixels"
    if width * height > MOST_PIXELS or max(width, height) > MOST_SIDE:
        raise UnreadableImageError(
            f"{size}; the most are {MOST_PIXELS // 10**6} million and a side of {MOST_SIDE}: cut it into pieces, or "
            "save it as a GeoTIFF, which is upscaled in bounded memory"
        )
    impossible = kind == "JPEG" and not jpeg_scans.can_hold(data, width, height)
    if impossible or width * height > max(_SMALL, _MOST_PIXELS_PER_BYTE * len(data)):
        raise UnreadableImageError(
            f"{size} in a file of {len(data)} bytes, which is a decompression bomb or cut short; copy it again"
        )


def check_complete(data: bytes, image: ImageFile.ImageFile) -> None:
    """Makes sure that a file holds every row, where decoders would leave the others black, gray or as they are.

    Args:
        data: The file.
        image: The same, opened; a JPEG is decoded here.

    Raises:
        UnreadableImageError: If something is missing.
    """
    kind = format_of(data)
    if kind == "PNG":
        png_chunks.check_rows(png_chunks.read_chunks(data))
    elif kind == "JPEG":
        jpeg_scans.check_complete(data, image)
    elif kind == "TIFF":
        _check_strips(data, tiff_tags(data))
    elif kind == "BMP" and image.tile and image.tile[0][0] == "bmp_rle":
        _check_run_lengths(data, image)


def tiff_tags(data: bytes) -> dict[int, Any]:
    """Returns the first image's tags; none for what is no TIFF."""
    if not data.startswith(TIFF_STARTS):
        return {}
    header = data[: 16 if data[2:4] in (b"+\0", b"\0+") else 8]
    tags, stream = ImageFileDirectory_v2(header), io.BytesIO(data)
    stream.seek(tags.next)
    tags.load(stream)
    return dict(tags)


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X" and len(data) >= 30:
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8 " and len(data) >= 30:
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L" and len(data) >= 25:
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    return None


def _check_strips(data: bytes, tags: dict[int, Any]) -> None:
    """Refuses strips and tiles without data, which become black, and short ones, which run into what follows."""
    width, height = tags[256], tags[257]
    tiled = 322 in tags
    offsets, counts = (_numbers(tags.get(tag)) for tag in ((324, 325) if tiled else (273, 279)))
    if tags.get(259) == 6:
        return  # old-style JPEG, which lies elsewhere
    if not counts:
        counts = tuple(len(data) - offset for offset in offsets)
    planes = tags.get(277, 1) if tags.get(284, 1) == 2 else 1
    if tiled:
        wanted = -(-width // tags[322]) * -(-height // tags[323]) * planes
    else:
        rows = max(1, min(tags.get(278, height), height))
        wanted = -(-height // rows) * planes
    whole = len(offsets) >= wanted and len(counts) >= wanted
    parts = list(zip(offsets[:wanted], counts[:wanted], strict=False))
    if not whole or any(count == 0 or offset + count > len(data) for offset, count in parts):
        raise UnreadableImageError("the TIFF is cut short: it does not hold all its rows; copy it again")
    if tags.get(259, 1) == 1:
        bits = _numbers(tags.get(258, 1))
        per_pixel = bits[0] if planes > 1 else sum(bits) if len(bits) > 1 else bits[0] * tags.get(277, 1)
        columns, lines = (tags[322], tags[323]) if tiled else (width, height)
        needed = (columns * per_pixel + 7) // 8 * lines * (wanted if tiled else planes)
        if tags.get(262) != 6 and sum(counts[:wanted]) < needed:  # subsampled colour takes less
            raise UnreadableImageError("the TIFF is cut short: its strips are too short for its rows; copy it again")


def _numbers(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple) else () if value is None else (value,)


def _check_run_lengths(data: bytes, image: ImageFile.ImageFile) -> None:
    """Refuses run lengths that skip pixels or do not reach them; decoders would give these the colour of index 0.

    Follows the bitmap file's description in Microsoft's Windows GDI documentation, Bitmap Compression.
    """
    four = bool(cast(Any, image.tile[0][3])[1])
    place, row, column, skipped = image.tile[0][2], 0, 0, 0
    width, height = image.size
    while row < height and place + 2 <= len(data):
        count, value = data[place], data[place + 1]
        place += 2
        if count:
            column += count
        elif value == 0:
            skipped += max(0, width - column)
            row, column = row + 1, 0
        elif value == 1:
            break
        elif value == 2:
            skipped += 1
            break
        else:
            column += value
            size = (value + 1) // 2 if four else value
            place += size + size % 2
    done = row + (column >= width)
    if skipped or done < height:
        raise UnreadableImageError(f"the BMP holds {done} of its {height} rows, or leaves pixels out; save it as PNG")
