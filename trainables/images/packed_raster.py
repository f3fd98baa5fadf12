"""A raster as bytes of a shard, lossless: its values as NumPy's ``.npy``, and behind them its mask where it has one."""

import numpy as np
from numpy.lib import format as npy

from trainables.errors import UnreadableImageError
from trainables.images.npy import decode_first, decode_npy, encode_npy
from trainables.images.raster import DATA_TYPES, Raster

MAGIC = npy.MAGIC_PREFIX
"""The bytes that packed rasters begin with."""


def pack(raster: Raster) -> bytes:
    """Encodes values as (C, H, W), which compress better than (H, W, C), and the mask as packed bits of each row."""
    values = encode_npy(raster.values.transpose(2, 0, 1))
    return values if raster.valid is None else values + encode_npy(np.packbits(raster.valid, axis=1))


def unpack(data: bytes, bands: tuple[str, ...], units: str = "") -> Raster:
    """The inverse of :func:`pack`; its arrays are read-only.

    Raises:
        UnreadableImageError: If the bytes are no packed raster of so many bands.
    """
    planes, start = decode_first(data)
    if planes.ndim != 3 or planes.dtype.name not in DATA_TYPES or len(planes) != len(bands):
        raise UnreadableImageError(
            f"a packed image of {planes.dtype} and shape {planes.shape}, where {len(bands)} bands are expected"
        )
    valid, (height, width) = None, planes.shape[1:]
    if behind := data[start + planes.nbytes :]:
        bits = decode_npy(behind)
        if bits.dtype != np.uint8 or bits.shape != (height, (width + 7) // 8):
            raise UnreadableImageError("the mask of a packed image does not fit it")
        valid = np.unpackbits(bits, axis=1, count=width).astype(bool)
    return Raster(planes.transpose(1, 2, 0), bands, valid, units)
