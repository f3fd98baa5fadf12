"""One GeoTIFF of a product's bands, on one grid, with what its metadata state."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader as Dataset
from rasterio.windows import Window

from orchestrator.archive.products.types import Layer, Layers, Mask
from orchestrator.archive.scene.geotiff.bigtiff import check_room, writing
from orchestrator.archive.scene.open_raster import GDAL_ERRORS, gdal, open_raster, plain
from orchestrator.archive.scene.strips import usable_nodata
from orchestrator.archive.scene.types import SceneError

_BLOCK, _ROWS = 256, 512
"""Side of the internal tiles, and rows that are written at once."""
_COLOURS = {
    "coastal": "coastal",
    "blue": "blue",
    "green": "green",
    "red": "red",
    "nir": "nir",
    "rededge": "rededge",
    "swir16": "swir",
    "swir22": "swir",
    "pan": "pan",
}
"""GDAL's colour interpretation by STAC's common names."""
_RGB = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
_ALIGNED = 1e-3
"""Largest distance of two grids in pixels."""

Opener = Callable[[str], Path]


@dataclass(frozen=True, slots=True)
class _Grid:
    """Pixels of the output.

    Attributes:
        width: Columns.
        height: Rows.
        transform: From pixels to the coordinate system.
    """

    width: int
    height: int
    transform: Affine

    @classmethod
    def of(cls, dataset: Dataset) -> "_Grid":
        return cls(dataset.width, dataset.height, dataset.transform)


def assemble(layers: Layers, chosen: Sequence[Layer], locate: Opener, path: Path) -> tuple[str, ...]:
    """Writes the bands into one GeoTIFF.

    The grid is that of the coarsest chosen band that holds no classes. Finer bands become the mean of whole pixels,
    rounded half up; classes and masks are taken by nearest neighbour. A mean with a pixel without a value has none.

    Args:
        layers: The product.
        chosen: Bands of the output.
        locate: Gives the local file of a member.
        path: Written here.

    Returns:
        Notes on what was resampled and masked.

    Raises:
        SceneError: ``unsupported``, if the bands do not lie on one grid, ``unreadable``, ``corrupt`` or ``disk``.
    """
    with gdal(), ExitStack() as stack:
        opened: dict[str, Dataset] = {}

        def open_file(file: str) -> Dataset:
            if file not in opened:
                try:
                    opened[file] = stack.enter_context(open_raster(locate(file)))
                except SceneError as error:
                    named = error.reason if file in error.reason else f"Its file {file}: {error.reason}"
                    raise SceneError(error.kind, named) from None
            return opened[file]

        sources = [_Source.of(layer.name, open_file(layer.file), layer.band, layer.classes) for layer in chosen]
        images = [source for source in sources if not source.classes] or sources
        coarsest = max(images, key=lambda source: abs(source.dataset.transform.a))
        grid = _Grid.of(coarsest.dataset)
        masks = [(mask, _Source.of(mask.name, open_file(mask.file), mask.band, True)) for mask in layers.masks]
        for source in (*sources, *(source for _, source in masks)):
            source.align(grid, coarsest)
        dtype = np.result_type(*(source.dtype for source in sources))
        stated = (usable_nodata(value, dtype.name) for value in (layers.nodata, coarsest.dataset.nodata))
        nodata = next((value for value in stated if value is not None), None)
        if masks and nodata is None:
            masks = []
        check_room(path.parent, grid.width * grid.height * len(sources) * dtype.itemsize)
        with writing(path):
            target = stack.enter_context(_created(path, grid, coarsest.dataset, chosen, dtype, nodata))
            _describe(target, coarsest.dataset, layers.tags)
        for rows in _rows(grid.height):
            missing = [_missing(mask, source.read(*rows)) for mask, source in masks]
            pixels = [source.read(*rows, nodata) for source in sources]
            with writing(path):
                for number, (source, band) in enumerate(zip(sources, pixels, strict=True), start=1):
                    if not source.classes:
                        for lost in missing:
                            band[lost] = nodata
                    target.write(band.astype(dtype), number, window=Window(0, rows[0], grid.width, rows[1] - rows[0]))
        return tuple(_notes([source for source in sources if source.changed], [mask for mask, _ in masks]))


@dataclass(slots=True)
class _Source:
    """A band of an open file, read on the grid of the output.

    Attributes:
        name: Its name in messages.
        dataset: Its file.
        band: Its number there.
        classes: True if it is taken by nearest neighbour.
        finer: Its pixels along a side of one of the output's; 1 or more.
        coarser: The output's pixels along a side of one of its own; 1 or more.
        width: Columns of the output.
    """

    name: str
    dataset: Dataset
    band: int
    classes: bool
    finer: int = 1
    coarser: int = 1
    width: int = 0

    @classmethod
    def of(cls, name: str, dataset: Dataset, band: int, classes: bool) -> "_Source":
        if not 1 <= band <= dataset.count:
            raise SceneError(
                "unsupported", f"The file of its band {name} has {dataset.count} bands, expected at least {band}."
            )
        return cls(name, dataset, band, classes)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the stored values."""
        return np.dtype(str(self.dataset.dtypes[self.band - 1]))

    @property
    def changed(self) -> bool:
        """True if it is resampled."""
        return self.finer > 1 or self.coarser > 1

    def align(self, grid: _Grid, reference: "_Source") -> None:
        """Finds how its grid fits that of the output.

        Raises:
            SceneError: ``unsupported``, if it does not by whole pixels.
        """
        own, other = self.dataset.transform, grid.transform
        ratio = other.a / own.a if own.a else math.nan
        finer, coarser = (round(ratio), 1) if ratio >= 1 else (1, round(1 / ratio) if ratio > 0 else 0)
        fits = self.dataset.crs == reference.dataset.crs and finer >= 1 and coarser >= 1
        fits = fits and own.almost_equals(other @ Affine.scale(coarser / finer), _ALIGNED * abs(own.a or 1))
        sides = (self.dataset.width * coarser, grid.width * finer), (self.dataset.height * coarser, grid.height * finer)
        # A coarser raster may reach beyond the last pixel.
        fits = fits and all(mine == wanted or (coarser > 1 and 0 <= mine - wanted < coarser) for mine, wanted in sides)
        if not fits:
            raise SceneError(
                "unsupported",
                f"Its bands {self.name} ({_grid_text(self.dataset)}) and {reference.name} "
                f"({_grid_text(reference.dataset)}) do not lie on one grid; name bands of one grid by --bands.",
            )
        self.finer, self.coarser, self.width = finer, coarser, grid.width

    def read(self, first: int, last: int, nodata: float | None = None) -> NDArray[Any]:
        """Rows of the output.

        Raises:
            SceneError: ``corrupt``, if they cannot be decoded.
        """
        f, c = self.finer, self.coarser
        start, stop = first * f // c, -(-last * f // c)
        try:
            pixels = self.dataset.read(self.band, window=Window(0, start, self.dataset.width, stop - start))
        except GDAL_ERRORS as error:
            raise SceneError("corrupt", f"Rows of its band {self.name} cannot be read: {plain(error)}.") from None
        if c > 1:
            whole = pixels.repeat(c, 0).repeat(c, 1)
            return np.ascontiguousarray(whole[first - start * c :][: last - first, : self.width])
        if f > 1:
            return pixels[f // 2 :: f, f // 2 :: f] if self.classes else _means(pixels, f, nodata)
        return np.asarray(pixels)


def _means(pixels: NDArray[Any], side: int, nodata: float | None) -> NDArray[Any]:
    """Means of squares of pixels; one with a pixel without a value gets nodata."""
    squares = pixels.reshape(pixels.shape[0] // side, side, pixels.shape[1] // side, side)
    count = side * side
    if pixels.dtype.kind == "f":
        means: NDArray[Any] = squares.mean((1, 3), dtype=np.float64).astype(pixels.dtype)
    else:
        sums = squares.sum((1, 3), dtype=np.int64)
        means = ((sums + count // 2) // count).astype(pixels.dtype)
    if nodata is not None:
        means[(squares == nodata).any((1, 3))] = nodata
    return means


def _missing(mask: Mask, values: NDArray[Any]) -> NDArray[np.bool_]:
    """Pixels that a mask marks."""
    missing: NDArray[np.bool_] = np.zeros(values.shape, bool)
    if mask.bits:
        missing |= np.bitwise_and(values.astype(np.int64), mask.bits) != 0
    if mask.value is not None:
        missing |= values == mask.value
    return missing


def _created(
    path: Path,
    grid: _Grid,
    source: Dataset,
    chosen: Sequence[Layer],
    dtype: np.dtype[Any],
    nodata: float | None,
) -> "rasterio.io.DatasetWriter":
    colours = [ColorInterp[_COLOURS.get(layer.common, "undefined")] for layer in chosen]
    # An RGB TIFF keeps no interpretation of further bands.
    rgb = colours[:3] == _RGB and set(colours[3:]) <= {ColorInterp.undefined}
    target = rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=grid.width,
        height=grid.height,
        count=len(chosen),
        dtype=dtype.name,
        nodata=nodata,
        crs=source.crs,
        transform=grid.transform,
        tiled=True,
        blockxsize=_BLOCK,
        blockysize=_BLOCK,
        interleave="band",
        bigtiff="if_safer",
        photometric="rgb" if rgb and dtype.name in ("uint8", "uint16") else "minisblack",
        alpha="no",
    )
    target.colorinterp = colours
    target.descriptions = tuple(layer.name for layer in chosen)
    target.scales = tuple(layer.scale for layer in chosen)
    target.offsets = tuple(layer.offset for layer in chosen)
    return target


def _describe(target: "rasterio.io.DatasetWriter", source: Dataset, tags: dict[str, str]) -> None:
    """Carries over tags, ground control points and rational polynomials of the file that gives the grid."""
    target.update_tags(**source.tags())
    target.update_tags(**tags)
    points, crs = source.gcps
    if points:
        target.gcps = points, crs
    if source.rpcs:
        target.rpcs = source.rpcs


def _rows(height: int) -> Iterator[tuple[int, int]]:
    return ((first, min(first + _ROWS, height)) for first in range(0, height, _ROWS))


def _notes(changed: Sequence[_Source], masks: Sequence[Mask]) -> Iterator[str]:
    averaged = [f"{source.name} ({source.finer}×{source.finer} pixels)" for source in changed if not source.classes]
    if averaged:
        yield f"bands of finer resolution were averaged: {', '.join(averaged)}"
    if nearest := [source.name for source in changed if source.classes]:
        yield f"bands of classes were taken by nearest neighbour: {', '.join(nearest)}"
    if masks:
        yield f"pixels without a value are those of {', '.join(mask.name for mask in masks)} too"


def _grid_text(dataset: Dataset) -> str:
    crs = "no coordinate system" if dataset.crs is None else dataset.crs.to_string()[:40]
    return f"{dataset.width}×{dataset.height} pixels of {abs(dataset.transform.a):g} in {crs}"
