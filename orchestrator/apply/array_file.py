"""Upscaling of .npy arrays and NIfTI volumes, layer by layer, in their own data type and units."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.archive.batch.commit import whole_file
from orchestrator.archive.scene.band_map import name_groups
from orchestrator.archive.scene.types import ModelFacts, Range
from orchestrator.foundation.buckets.local_copy import local_copy
from orchestrator.foundation.storage import Storage
from orchestrator.rasters.errors import one_reason
from orchestrator.rasters.open_raster_file import open_raster_file
from orchestrator.rasters.outputs import larger_copy
from orchestrator.rasters.types import RasterFile
from trainables.errors import UnreadableImageError
from trainables.images.hidden_colour import nearest, put_back
from trainables.images.raster import Raster
from trainables.inference.downscaling import Downscaling
from trainables.inference.prepare import Prepared
from trainables.inference.tiling import TILE
from trainables.inference.upscale import Values, upscale_groups

_CONTENT_TYPE = "application/octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayFileSettings:
    """Settings for upscaling arrays and volumes.

    Attributes:
        value_range: Values that mean 0 and 1 to the network, for all or by data type; None for the range of the model's
            card for the data type, which for uint8 is 0 to 255 if the card states none.
        units: Unit of the card's range; "" if it is not known.
        slice_axis: The axis of a volume that its slices are cut across.
        tile: Largest side of a tile in LR pixels.
        ensemble: True to average the eight flips and rotations.
        downscaling: How the output is downscaled for back-projection; None for none.
    """

    value_range: Range | Mapping[str, Range] | None = None
    units: str = ""
    slice_axis: int = 2
    tile: int = TILE
    ensemble: bool = False
    downscaling: Downscaling | None = None


def upscale_array_file(
    source: Storage,
    target: Storage,
    net: Prepared,
    model: ModelFacts,
    settings: ArrayFileSettings,
    lock: AbstractContextManager[object],
) -> tuple[int, list[str]]:
    """Upscales each layer of a file; the output appears whole or not at all.

    Args:
        source: A ``.npy`` or NIfTI file.
        target: The output, of the same ending.
        net: The network.
        model: Facts about it.
        settings: Settings for upscaling.
        lock: Held while the network computes.

    Returns:
        Pixels of the output, and notes for people.

    Raises:
        UnreadableImageError: If the file cannot be read, or its bands or values do not fit the model.
    """
    with (
        local_copy(source) as path,
        whole_file(target, _CONTENT_TYPE) as output_file,
        open_raster_file(path, settings.slice_axis) as file,
    ):
        low, high = _range_of(file, model, settings)
        upscale = _upscaler(file, net, model, settings, lock)
        with one_reason(), larger_copy(path, output_file, net.scale, settings.slice_axis) as output:
            for layer in range(file.layers):
                raster = file.read(layer, 0, 0, file.height, file.width)
                output.write(layer, _larger(raster, upscale, net.scale, low, high))
        pixels = file.layers * file.height * file.width * net.scale**2
        return pixels, [*file.notes, *output.notes, *_notes(file, settings)]


def _range_of(file: RasterFile, model: ModelFacts, settings: ArrayFileSettings) -> tuple[float, float]:
    """Values that mean 0 and 1 to the network, which no file decides by its own values."""
    given = settings.value_range
    stated = (given.get(file.dtype) if isinstance(given, Mapping) else given) or model.value_range.get(file.dtype)
    if stated is None and file.dtype == "uint8":
        return 0.0, 255.0
    if stated is None:
        raise UnreadableImageError(
            f"its values are {file.dtype}, and the model's card states no value_range for them: state with "
            "--normalisation LOW,HIGH which of them mean 0 and 1"
        )
    return stated


def _notes(file: RasterFile, settings: ArrayFileSettings) -> list[str]:
    if settings.value_range is not None or not settings.units or file.units:
        return []
    unit = settings.units
    return [f"it states no unit, and its values were taken to be in {unit}, the unit of the model's range"]


def _upscaler(
    file: RasterFile,
    net: Prepared,
    model: ModelFacts,
    settings: ArrayFileSettings,
    lock: AbstractContextManager[object],
) -> Callable[[Values], Values]:
    """From (H, W, C) to (r·H, r·W, C), with the bands together that the model takes together."""
    with one_reason():
        groups = name_groups(file.bands, model)

    def upscale(values: Values) -> Values:
        with lock:
            return upscale_groups(net, values, groups, settings.tile, settings.ensemble, settings.downscaling)

    return upscale


def _larger(raster: Raster, upscale: Callable[[Values], Values], scale: int, low: float, high: float) -> NDArray[Any]:
    """Values in units; pixels without a value stay so, and keep their exact footprint."""
    values, valid = raster.values, raster.valid
    if valid is not None and not valid.any():
        return values.repeat(scale, 0).repeat(scale, 1)
    filled = values if valid is None else nearest(values, ~valid)
    shares = ((filled.astype(np.float64) - low) / (high - low)).astype(np.float32)
    larger = upscale(shares).astype(np.float64) * (high - low) + low
    if valid is not None:
        put_back(larger, values, ~valid, scale)
    return larger
