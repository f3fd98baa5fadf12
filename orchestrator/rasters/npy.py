"""NumPy's .npy files, read by parts and never unpickled."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.rasters.arrays import part_of, range_by_parts
from orchestrator.rasters.types import Part, RasterFile
from orchestrator.rasters.units import type_in_units
from trainables.errors import UnreadableImageError
from trainables.images.raster import GRAY, RGB

_TYPES = ("uint8", "uint16", "int8", "int16", "float16", "float32", "float64")
_MOST_BANDS = 512
_MAGIC = b"\x93NUMPY"


@contextmanager
def open_npy(path: Path) -> Iterator[RasterFile]:
    """Opens an array (H, W) or (H, W, C); one band is gray, three are red, green and blue; NaN has no value.

    Raises:
        UnreadableImageError: If it is no such array of :data:`_TYPES`.
    """
    values = _mapped(path)
    identity = (1.0, 0.0)
    limits = (0.0, 0.0)  # which decide nothing of these types
    dtype = type_in_units(values.dtype, [identity], limits, lambda: range_by_parts(values, identity))

    def part(layer: int, row: int, column: int, height: int, width: int) -> Part:
        return part_of(values[row : row + height, column : column + width], identity, dtype)

    height, width, count = values.shape
    named = {len(GRAY): GRAY, len(RGB): RGB}
    yield RasterFile(
        height=height,
        width=width,
        dtype=dtype,
        bands=named.get(count) or tuple(f"band{number}" for number in range(1, count + 1)),
        part=part,
    )


def _mapped(path: Path) -> NDArray[Any]:
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise UnreadableImageError("it is no .npy file: its first bytes are others")
    try:
        values: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    except ValueError as error:
        if "object" in str(error):
            raise UnreadableImageError(f"it holds Python objects, not an array of {', '.join(_TYPES)}") from None
        raise UnreadableImageError("the .npy file is cut short, or its header is damaged; copy it again") from None
    if values.dtype.name not in _TYPES:
        raise UnreadableImageError(f"its values are {values.dtype.name:.40}; expected one of {', '.join(_TYPES)}")
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or not values.size or values.shape[2] > _MOST_BANDS:
        raise UnreadableImageError(
            f"its shape is {values.shape!s:.60}; expected (H, W) or (H, W, C) with at most {_MOST_BANDS} bands C"
        )
    return values
