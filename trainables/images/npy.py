"""Arrays as the bytes of NumPy's .npy format, which keeps them exactly; never pickled."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.errors import UnreadableImageError
from trainables.images.raster import DATA_TYPES

_TYPES = (*DATA_TYPES, "bool")


def encode_npy(values: NDArray[Any]) -> bytes:
    """Encodes an array in C order, whatever its own order is."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(values), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def decode_npy(data: bytes) -> NDArray[Any]:
    """Decodes what :func:`encode_npy` made: (H, W) or (H, W, C) of one of :data:`DATA_TYPES` or bool; read-only.

    Raises:
        UnreadableImageError: If the bytes are anything else, too few or too many.
    """
    values, start = decode_first(data)
    if len(data) - start != values.nbytes:
        raise UnreadableImageError(f"{len(data) - start} bytes for an array of {values.nbytes}; copy it again")
    return values


def decode_first(data: bytes) -> tuple[NDArray[Any], int]:
    """Decodes an array that other bytes may follow.

    Returns:
        The array, read-only, and where its values start.

    Raises:
        UnreadableImageError: As :func:`decode_npy`, but for bytes behind it.
    """
    buffer = io.BytesIO(data)
    try:
        if np.lib.format.read_magic(buffer) != (1, 0):
            raise ValueError
        shape, columns_first, dtype = np.lib.format.read_array_header_1_0(buffer)
    except Exception:  # NumPy evaluates the header as a literal, which fails in many ways
        raise UnreadableImageError("not an array (.npy): its header is damaged") from None
    if dtype.name not in _TYPES or dtype.isnative is False or columns_first:
        raise UnreadableImageError(f"an array of {dtype.name:.40}; expected one of {', '.join(_TYPES)} in C order")
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise UnreadableImageError(f"an array of the shape {shape!s:.60}; expected (H, W) or (H, W, C)")
    start, count = 10 + int.from_bytes(data[8:10], "little"), 1
    for side in shape:
        count *= int(side)
    if len(data) - start < count * dtype.itemsize:
        raise UnreadableImageError(f"{len(data) - start} bytes for an array of {count * dtype.itemsize}; copy it again")
    return np.frombuffer(data, dtype, count, start).reshape(shape), start
