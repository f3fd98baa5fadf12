"""Digests of pictures: equal for the same picture, however encoded, turned or mirrored, and similar for look-alikes."""

from collections.abc import Iterator
from functools import reduce
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainables.images.raster import GRAY, RGB, Raster

_FLIP_ROWS, _FLIP_COLUMNS = Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.FLIP_LEFT_RIGHT
_TURN = Image.Transpose.TRANSPOSE


def picture_digest(pixels: NDArray[np.uint8]) -> str:
    """Digest of the pixels alone, the same for all eight turned and mirrored versions and for gray stored as colour.

    Of the eight, the one is digested whose brightness lies furthest to the bottom and, less so, to the right; where
    that decides nothing, because the picture is symmetrical in its moments, the least of the digests counts.

    Args:
        pixels: uint8 (H, W, C), C being 1 or 3.

    Returns:
        128 bits as 32 hexadecimal digits.
    """
    if pixels.shape[2] == 3 and (pixels[0, :, :1] == pixels[0]).all() and (pixels[..., :1] == pixels).all():
        pixels = pixels[..., :1]
    return min(_digest(version) for version in _upright(pixels))


def digest_of(raster: Raster) -> str:
    """The picture's digest: :func:`picture_digest` of a plain one, :func:`raster_digest` of any other."""
    plain = raster.bands in (GRAY, RGB) and raster.values.dtype == np.uint8 and raster.valid is None
    return picture_digest(raster.values) if plain else raster_digest(raster)


def raster_digest(raster: Raster) -> str:
    """The same for an image of any depth and number of bands: of its values, and of which pixels have one."""
    arrays = [raster.values] if raster.valid is None else [raster.values, raster.valid]
    return min(
        sha256(b"".join(repr(array.shape).encode() + array.tobytes() for array in turned)).hexdigest()[:32]
        for turned in _eight(arrays)
    )


def _eight(arrays: list[NDArray[Any]]) -> Iterator[list[NDArray[Any]]]:
    """The turned and mirrored versions of arrays (H, W, ...)."""
    for lying in (arrays, [array.swapaxes(0, 1) for array in arrays]):
        for rows in (1, -1):
            for columns in (1, -1):
                yield [array[::rows, ::columns] for array in lying]


def _digest(image: Image.Image) -> str:
    shape = (image.height, image.width, len(image.getbands()))
    return sha256(repr(shape).encode() + image.tobytes()).hexdigest()[:32]


def _upright(pixels: NDArray[np.uint8]) -> Iterator[Image.Image]:
    height, width, bands = pixels.shape
    flat = pixels.reshape(height, width * bands)  # numpy sums over two axes twenty times as slowly
    down = _moment(flat.sum(axis=1, dtype=np.uint32))
    right = _moment(flat.sum(axis=0, dtype=np.uint32).reshape(width, bands).sum(axis=1))
    image = Image.fromarray(pixels[..., 0] if bands == 1 else pixels)  # turned five times as fast as by numpy
    upright, lying = (height, abs(down)), (width, abs(right))
    for turned in [False, True] if upright == lying else [upright < lying]:
        for rows in _directions(down):
            for columns in _directions(right):
                flips = [_FLIP_ROWS] * (rows < 0) + [_FLIP_COLUMNS] * (columns < 0) + [_TURN] * turned
                yield reduce(Image.Image.transpose, flips, image)


def _moment(sums: NDArray[np.unsignedinteger]) -> int:
    """First moment about the middle, an exact whole number that changes its sign when the sums are reversed."""
    return int((sums.astype(np.int64) * (2 * np.arange(len(sums)) - (len(sums) - 1))).sum())


def _directions(moment: int) -> list[int]:
    return [1, -1] if moment == 0 else [1 if moment > 0 else -1]


def look(pixels: NDArray[np.uint8]) -> int | None:
    """64 bits that say where a picture gets brighter from left to right, on a grid of 8 × 9: a difference hash.

    Crops by a few pixels, other sizes and lossy encoding change few of them.

    Args:
        pixels: uint8 (H, W, C), C being 1 or 3.

    Returns:
        The bits, or None of a picture that is too even to be known by them.
    """
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).convert("L")
    grid = np.asarray(image.resize((9, 8), Image.Resampling.BOX), np.int16)
    if np.ptp(grid) < _EVEN:
        return None
    return int.from_bytes(np.packbits(grid[:, 1:] > grid[:, :-1]).tobytes(), "big")


_EVEN = 24
"""Levels between the darkest and the brightest field of the grid below which differences are mostly noise."""
