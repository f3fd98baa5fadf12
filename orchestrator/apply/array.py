"""Upscaling of an array in memory with the same result as for a file: 8-bit pictures, and scenes of other depths."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.apply.device import chosen_device
from orchestrator.archive.scene.band_map import band_groups
from orchestrator.archive.scene.model_facts import facts_of
from orchestrator.archive.scene.types import DTYPES, BandMap, ModelFacts, Normalisation, SceneError, SceneSettings
from orchestrator.archive.scene.value_range import normalisation
from orchestrator.archive.scene.values.network import apply_network, halo_of, limits_of_values
from orchestrator.foundation.model_store import FoundModel
from trainables.errors import RunError, UsageError
from trainables.images.raster import RGB
from trainables.inference.downscaling import BackProject, downscaling_of
from trainables.inference.precision import Precision
from trainables.inference.prepare import Prepared, prepared
from trainables.inference.tiling import TILE, Grid, cut
from trainables.inference.upscale import self_ensemble, upscale

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArraySettings:
    """Settings for upscaling an array.

    Attributes:
        normalisation: As in :class:`~orchestrator.archive.scene.types.SceneSettings`.
        band_map: As in the same; three bands are red, green and blue.
        tile: Largest side of a tile in LR pixels.
        ensemble: Whether to average eight flips and rotations.
        precision: Precision of the convolutions.
        device: ``auto``, ``cpu`` or ``cuda``.
        back_project: As in :class:`~orchestrator.archive.scene.types.SceneSettings`; not for 8-bit pictures.
    """

    normalisation: Normalisation = "auto"
    band_map: BandMap = "auto"
    tile: int = TILE
    ensemble: bool = False
    precision: Precision = "auto"
    device: str = "auto"
    back_project: BackProject = "on"


def upscale_array(array: Array, model: FoundModel, settings: ArraySettings) -> Array:
    """Upscales one image.

    Args:
        array: (H, W) or (H, W, C), uint8, uint16, int16, float32 or float64. float64 is computed in float32.
        model: The model.
        settings: Settings for upscaling.

    Returns:
        (r·H, r·W) or (r·H, r·W, C) of the same data type.

    Raises:
        UsageError: If the array is no image, or its normalisation is unknown.
        RunError: If the network's output is not finite.
    """
    _check(array)
    net = prepared(model.net, chosen_device(settings.device), settings.precision)
    image = array[..., None] if array.ndim == 2 else array
    try:
        if _is_picture(image, settings):
            result: Array = upscale(net, np.ascontiguousarray(image), settings.tile, settings.ensemble)
        else:
            result = _in_its_depth(image, net, facts_of(model, net.precision), settings)
    except SceneError as error:
        raise (RunError if error.kind == "verification" else UsageError)(error.reason) from None
    return result[..., 0] if array.ndim == 2 else result


def _check(array: Array) -> None:
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise UsageError(f"An image is an array of shape (H, W) or (H, W, C), found {array.shape}.")
    if array.dtype.name not in (*DTYPES, "float64"):
        raise UsageError(f"An image is an array of {', '.join(DTYPES)} or float64, found {array.dtype}.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UsageError("The array has values that are not finite: fill them, or save it as a GeoTIFF with nodata.")


def _is_picture(image: Array, settings: ArraySettings) -> bool:
    return image.dtype == np.uint8 and image.shape[2] in (1, 3) and settings.normalisation in ("auto", "dtype")


def _in_its_depth(image: Array, net: Prepared, model: ModelFacts, settings: ArraySettings) -> Array:
    """Upscales like a scene, which may have more bands, other data types and a value range of its own."""
    planes = np.ascontiguousarray(image.transpose(2, 0, 1))
    if planes.dtype == np.float64:
        planes = planes.astype(np.float32)
    bands, height, width = planes.shape
    scene = SceneSettings(normalisation=settings.normalisation, band_map=settings.band_map)
    norm = normalisation(planes.dtype.name, [1.0] * bands, [0.0] * bands, model, scene)
    groups = band_groups(RGB if bands == 3 else ["undefined"] * bands, model, scene)
    run = replace(net, run=self_ensemble(net)) if settings.ensemble else net
    out = np.empty((bands, height * net.scale, width * net.scale), planes.dtype)
    downscaling = downscaling_of(settings.back_project, model.decimation)
    halo = halo_of(net.radius, downscaling)
    grid = Grid.of(height, width, settings.tile, halo)
    limits = limits_of_values(planes.dtype.name)
    for tile in grid.tiles():
        window = cut(planes, tile.row - halo, tile.column - halo, grid.rows + 2 * halo, grid.columns + 2 * halo, height)
        rows = slice(tile.row * net.scale, (tile.row + tile.rows) * net.scale)
        columns = slice(tile.column * net.scale, (tile.column + tile.columns) * net.scale)
        for group in map(list, groups):
            low, span = norm.low[group], (norm.high - norm.low)[group]
            apply_network(run, window[group], low, span, out[:, rows, columns], group, downscaling, limits)
    return out.transpose(1, 2, 0).astype(image.dtype, copy=False)
