"""The data type that holds values in units, and the values in it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.errors import UnreadableImageError
from trainables.images.raster import DATA_TYPES, DataType

Rescale = tuple[float, float]
"""Slope and intercept from stored values to units."""

Range = tuple[float, float]

_WIDENED: dict[str, DataType] = {"int8": "int16", "float16": "float32"}
_EXACT = 2**24
"""float32 holds all whole numbers up to it."""
_LARGEST = 3.3e38
"""Values from here on mean that there is none, as in scenes."""


def type_in_units(
    stored: np.dtype[Any], rescales: Sequence[Rescale], limits: Range, found: Callable[[], Range]
) -> DataType:
    """The data type that all values of a file have in units.

    Stored values keep their type where they are not rescaled and it is one of :data:`DATA_TYPES`. Whole numbers with a
    whole slope and intercept become int16 if the stored type's limits fit it in units, or otherwise the file's own
    values do. All others become float32.

    Args:
        stored: Data type in the file.
        rescales: Slope and intercept of every layer, or one for all.
        limits: Least and greatest value that can be stored.
        found: Gives the least and greatest value of the file in units; called only where that decides.

    Raises:
        UnreadableImageError: If neither holds the values.
    """
    kept = all(rescale == (1, 0) for rescale in rescales)
    if kept and stored.name in DATA_TYPES:
        return stored.name
    if kept and stored.name in _WIDENED:
        return _WIDENED[stored.name]
    ends = [value * slope + intercept for slope, intercept in rescales for value in limits]
    whole = stored.kind in "iu" and all(number == int(number) for rescale in rescales for number in rescale)
    if whole and _fit_int16(min(ends), max(ends)):
        return "int16"
    deep = stored.kind == "f" or stored.itemsize > 2
    if not (whole or deep) and max(map(abs, ends)) < _LARGEST:
        return "float32"
    low, high = found()
    if whole and _fit_int16(low, high):
        return "int16"
    if max(abs(low), abs(high)) > (_EXACT if stored.kind in "iu" and whole else _LARGEST):
        raise UnreadableImageError(f"its values from {low:g} to {high:g} fit neither int16 nor float32")
    return "float32"


def _fit_int16(low: float, high: float) -> bool:
    return low >= -(2**15) and high < 2**15


def in_units(stored: NDArray[Any], rescale: Rescale, dtype: DataType) -> NDArray[Any]:
    """Values in units, as native ``dtype``; what does not fit it, as padding may, is undefined."""
    slope, intercept = rescale
    if rescale == (1, 0):
        return stored.astype(dtype)
    with np.errstate(invalid="ignore", over="ignore"):
        if dtype == "int16":
            return (stored.astype(np.int64) * int(slope) + int(intercept)).astype(dtype)
        return (stored.astype(np.float64) * slope + intercept).astype(dtype)


def range_of(values: NDArray[Any], rescale: Rescale = (1, 0)) -> Range:
    """Least and greatest finite value in units; 0 and 0 where there is none."""
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 0.0
    slope, intercept = rescale
    ends = sorted(float(end) * slope + intercept for end in (values.min(), values.max()))
    return ends[0], ends[1]
