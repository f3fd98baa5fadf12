"""Arrays on disk, of which only parts are ever in memory."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.archive.scene.nodata import valid_samples
from orchestrator.rasters.types import Part
from orchestrator.rasters.units import Range, Rescale, in_units, range_of
from trainables.images.raster import DataType

_AT_ONCE = 1 << 22
"""Values that are looked at together."""


def part_of(stored: NDArray[Any], rescale: Rescale, dtype: DataType) -> Part:
    """Values (H, W, C) in units; those that are not finite have none."""
    values = in_units(stored, rescale, dtype)
    return values, np.logical_and.reduce(valid_samples(values, None), axis=-1) if dtype == "float32" else None


def range_by_parts(values: NDArray[Any], rescale: Rescale) -> Range:
    """Least and greatest finite value in units of an array of any shape, which is read part by part."""
    flat = values.reshape(-1, order="F") if values.flags.f_contiguous else values.reshape(-1)
    ranges = [range_of(flat[start : start + _AT_ONCE], rescale) for start in range(0, flat.size, _AT_ONCE)]
    return min(low for low, _ in ranges), max(high for _, high in ranges)
