"""A raster as bytes of a shard, lossless: its values as NumPy's ``.npy``, and behind them its mask where it has one."""

import io
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from trainables.errors import UnreadableImageError
from trainables.images.raster import DATA_TYPES, Raster

MAGIC = npy.MAGIC_PREFIX
"""The bytes that packed rasters begin with."""

MOST_VALUES = 1 << 28


def pack(raster: Raster) -> bytes:
    """Encodes values as (C, H, W), which compress better than (H, W, C), and the mask as packed bits."""
    out = io.BytesIO()
    npy.write_array(out, np.ascontiguousarray(raster.values.transpose(2, 0, 1)), allow_pickle=False)
    if raster.valid is not None:
        npy.write_array(out, np.packbits(raster.valid), allow_pickle=False)
    return out.getvalue()


def unpack(data: bytes, bands: tuple[str, ...], units: str = "") -> Raster:
    """The inverse of :func:`pack`.

    Raises:
        UnreadableImageError: If the bytes are no packed raster of so many bands.
    """
    stream = io.BytesIO(data)
    try:
        planes = _read(stream, len(data))
        if planes.ndim != 3 or planes.dtype.name not in DATA_TYPES or not planes.size > 0 or len(planes) != len(bands):
            raise UnreadableImageError(
                f"a packed image of {planes.dtype} and shape {planes.shape}, where {len(bands)} bands are expected"
            )
        valid, (height, width) = None, planes.shape[1:]
        if stream.tell() < len(data):
            bits = _read(stream, len(data))
            if bits.dtype != np.uint8 or bits.shape != ((height * width + 7) // 8,):
                raise UnreadableImageError("the mask of a packed image does not fit it")
            valid = np.unpackbits(bits, count=height * width).reshape(height, width).astype(bool)
        if stream.tell() < len(data):
            raise UnreadableImageError("a packed image is followed by other bytes")
    except UnreadableImageError:
        raise
    except Exception:  # NumPy's reader raises many kinds on damaged bytes
        raise UnreadableImageError("not a packed image: its header or values are damaged") from None
    return Raster(planes.transpose(1, 2, 0), bands, valid, units)


def _read(stream: io.BytesIO, size: int) -> NDArray[Any]:
    """One array, after a check that the bytes can hold it: a damaged header must not ask for more memory."""
    start = stream.tell()
    version = npy.read_magic(stream)
    header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version](stream)
    values = int(np.prod(header[0], dtype=object)) if header[0] else 1
    if values > MOST_VALUES or values * header[2].itemsize > size or header[2].hasobject:
        raise UnreadableImageError("a packed image states more values than it holds")
    stream.seek(start)
    return npy.read_array(stream, allow_pickle=False)
