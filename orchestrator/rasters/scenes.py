"""GeoTIFF, JPEG 2000 and other images of any depth and number of bands, read by parts."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import cast

import numpy as np

from orchestrator.archive.scene.band_roles import class_bands
from orchestrator.archive.scene.open_raster import CACHE
from orchestrator.archive.scene.reader import Scene, gdal
from orchestrator.dicom.element_values import on_one_line
from orchestrator.rasters.types import Part, RasterFile
from trainables.errors import UnreadableImageError
from trainables.images.raster import DataType

_COLOURS = ("red", "green", "blue", "nir")
"""Colour interpretations of GDAL that name a band; the others say how it is shown."""
_LONGEST_NAME = 60
_LARGEST_CACHE = 512 << 20


@contextmanager
def open_scene(path: Path) -> Iterator[RasterFile]:
    """Opens a file of GDAL's; nodata, NaN, masks and transparency have no value, classes and flags are left out.

    Bands are called as they are described or, failing that, by their colour, otherwise ``band1``, ``band2`` and so on
    by their number in the file.

    Raises:
        SceneError: If it cannot be read.
        UnreadableImageError: If all its bands hold classes or flags, or indices of a palette on a map.
    """
    with ExitStack() as stack:
        with gdal():
            file = _raster_file(stack.enter_context(Scene(path)))
        yield file


def _raster_file(scene: Scene) -> RasterFile:
    if scene.palette and scene.placed:
        raise UnreadableImageError("its values are indices of a palette, no image; expand the palette to colours first")
    reasons = {} if scene.palette else class_bands(scene)
    shown = [band for band in range(len(scene.colours)) if band not in reasons]
    if not shown:
        raise UnreadableImageError(f"its values are classes or flags, no image ({next(iter(reasons.values()))})")
    left_out = tuple(
        f"band {scene.image[band]} was left out, as classes or flags ({reason})" for band, reason in reasons.items()
    )

    def part(layer: int, row: int, column: int, height: int, width: int) -> Part:
        with gdal(GDAL_CACHEMAX=_cache(scene, height)):
            strip = scene.window(row, column, height, width)
        values = np.ascontiguousarray(np.moveaxis(strip.pixels[shown], 0, -1))
        return values, None if strip.valid is None else np.logical_and.reduce(strip.valid[shown])

    return RasterFile(
        height=scene.facts.height,
        width=scene.facts.width,
        dtype=cast(DataType, scene.facts.dtype),
        bands=_names(scene, shown),
        part=part,
        units=_units(scene, shown),
        notes=(*scene.notes, *left_out),
    )


def _cache(scene: Scene, rows: int) -> int:
    """Bytes that keep what lies beside a window in its rows, which files of strips decode with it."""
    dataset = scene.dataset
    row = int(dataset.width) * int(dataset.count) * np.dtype(scene.facts.dtype).itemsize
    block = int(dataset.block_shapes[0][0])
    return max(CACHE, min(2 * row * (rows + block), _LARGEST_CACHE))


def _names(scene: Scene, shown: Sequence[int]) -> tuple[str, ...]:
    if scene.expanded:
        return tuple(scene.colours)
    colours: list[str] = scene.colours
    names: list[str] = []
    for band in shown:
        number = scene.image[band]
        described = on_one_line(scene.dataset.descriptions[number - 1] or "")[:_LONGEST_NAME]
        known = colours[band] in _COLOURS or colours == ["gray"]
        name = described or (colours[band] if known else f"band{number}")
        name = name.lower() if name.lower() in (*_COLOURS, "gray") else name
        names.append(f"band{number}" if name in names else name)
    return tuple(names)


def _units(scene: Scene, shown: Sequence[int]) -> str:
    """The one unit of all bands, where the stored values are in it."""
    if scene.expanded:
        return ""
    numbers, dataset = [scene.image[band] - 1 for band in shown], scene.dataset
    if any(dataset.scales[number] != 1 or dataset.offsets[number] != 0 for number in numbers):
        return ""
    units = {on_one_line(dataset.units[number] or "") for number in numbers}
    return units.pop() if len(units) == 1 else ""
