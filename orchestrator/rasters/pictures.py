"""PNG, JPEG, WebP, BMP and plain TIFF: pictures of 8 bits, decoded whole."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from orchestrator.archive.scene.geotiff import tiff_tags
from orchestrator.archive.scene.open_raster import companions
from orchestrator.rasters.types import Part, RasterFile
from trainables.errors import UnreadableImageError
from trainables.images.codec import GEOREFERENCE, decode
from trainables.images.formats import TIFF_STARTS
from trainables.images.raster import GRAY, RGB

MOST_BYTES = 1 << 31
"""Largest file that is decoded whole."""
_MOST_PIXELS_OF_TIFF = 1 << 27
_PNG, _JPEG_2000 = b"\x89PNG\r\n\x1a\n", (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")
_PNG_DEPTH = 24
"""Place of the bits of a sample in a PNG (its specification, 11.2.1)."""
_SHOWN = {0, 1, 2, 3, 5, 6}
"""TIFF's photometric interpretations of gray, colour, palettes and CMYK."""
_CMYK, _ALPHA, _UNSIGNED = 5, {1, 2}, {1, 4}


def is_picture(path: Path) -> bool:
    """Returns True for 8-bit gray or colour that states no place on earth and no missing values, by its header."""
    with path.open("rb") as file:
        start = file.read(32)
    if start.startswith(_PNG):
        return start[_PNG_DEPTH : _PNG_DEPTH + 1] != b"\x10"
    if start.startswith(TIFF_STARTS):
        return _is_plain_tiff(path)
    return not start.startswith(_JPEG_2000)


@contextmanager
def open_picture(path: Path, checked: bool = False) -> Iterator[RasterFile]:
    """Opens a picture; fully transparent pixels have no value.

    Args:
        path: The file.
        checked: True if it was decoded before and is known to be complete.

    Raises:
        UnreadableImageError: If it cannot be decoded, or is too large to be decoded whole.
    """
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise UnreadableImageError(f"{size} bytes are too many for a plain image; save it as a GeoTIFF")
    image = decode(path.read_bytes(), keep_alpha=True, checked=checked)
    valid = None if image.alpha is None else image.alpha > 0

    def part(layer: int, row: int, column: int, height: int, width: int) -> Part:
        here = np.s_[row : row + height, column : column + width]
        return image.pixels[here], None if valid is None else valid[here]

    yield RasterFile(
        height=image.height,
        width=image.width,
        dtype="uint8",
        bands=RGB if image.channels == len(RGB) else GRAY,
        part=part,
        notes=(f"it holds {image.frames} images; all but the first were left out",) if image.frames > 1 else (),
    )


def _is_plain_tiff(path: Path) -> bool:
    tags = next(iter(tiff_tags.directories(path)), {})
    numbers = {tag: values[0] for tag, values in tags.items() if values}
    kind = numbers.get(tiff_tags.PHOTOMETRIC)
    alphas = sum(extra in _ALPHA for extra in tags.get(tiff_tags.EXTRA_SAMPLES, ()))
    colours = numbers.get(tiff_tags.SAMPLES, 1) - alphas
    pixels = numbers.get(tiff_tags.WIDTH, 0) * numbers.get(tiff_tags.HEIGHT, 0)
    return (
        max(tags.get(tiff_tags.BITS) or (1,)) <= 8
        and numbers.get(tiff_tags.SAMPLE_FORMAT, 1) in _UNSIGNED
        and kind in _SHOWN
        and (colours == 4 if kind == _CMYK else colours in (1, 3))
        and pixels <= _MOST_PIXELS_OF_TIFF
        and not any(tag in tags for tag in (*GEOREFERENCE, tiff_tags.NODATA))
        and path.stat().st_size <= MOST_BYTES
        and not companions(path)
    )
