"""An open image file, whatever its format."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.rasters.errors import one_reason
from trainables.images.raster import DataType, Raster

Part = tuple[NDArray[Any], NDArray[np.bool_] | None]
"""Values (H, W, C) of a rectangle, and its pixels with values in all bands, bool (H, W); None if these are all."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RasterFile:
    """An open image file of one or several layers of one size, such as the slices of a volume.

    Attributes:
        height: Rows of each layer.
        width: Columns of each layer.
        dtype: Data type of the values.
        bands: Name of each band.
        part: Reads the rectangle (layer, row, column, height, width), which lies within the file.
        units: Unit of the values, such as ``HU``; "" where the file states none.
        layers: 1, the frames of a multi-frame DICOM, or the slices of a volume.
        window: The first window that a DICOM file states, in the values' units; None elsewhere.
        scene: Patient ID of a DICOM file; None elsewhere.
        notes: What the file holds that is converted or left out, for people.
    """

    height: int
    width: int
    dtype: DataType
    bands: tuple[str, ...]
    part: Callable[[int, int, int, int, int], Part]
    units: str = ""
    layers: int = 1
    window: tuple[float, float] | None = None
    scene: str | None = None
    notes: tuple[str, ...] = ()

    def read(self, layer: int, row: int, column: int, height: int, width: int) -> Raster:
        """Reads a rectangle of a layer.

        Args:
            layer: Number of the layer, from 0.
            row: First row.
            column: First column.
            height: Rows.
            width: Columns.

        Raises:
            UnreadableImageError: If it cannot be decoded.
            IndexError: If it does not lie within the file.
        """
        inside = 0 <= row < row + height <= self.height and 0 <= column < column + width <= self.width
        if not inside or not 0 <= layer < self.layers:
            raise IndexError(
                f"Expected a part of {self.layers} layers of {self.height}×{self.width} pixels, found layer {layer}, "
                f"row {row}, column {column}, {height}×{width} pixels."
            )
        with one_reason():
            values, valid = self.part(layer, row, column, height, width)
        return Raster(values, self.bands, None if valid is None or valid.all() else valid, self.units)
