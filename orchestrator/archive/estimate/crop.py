"""A part of a scene as a file of its own, to be upscaled as a scene is."""

import random
import time
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rasterio
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.windows import Window

from orchestrator.archive.report.footprints import area_of
from orchestrator.archive.scene.band_roles import settle
from orchestrator.archive.scene.open_raster import open_raster
from orchestrator.archive.scene.outline import outline
from orchestrator.archive.scene.reader import Scene, gdal
from orchestrator.archive.scene.types import LoadedModel, SceneFacts, SceneSettings
from orchestrator.foundation.file_types import TIFF

if TYPE_CHECKING:
    from orchestrator.archive.scene.rows import Worker

SIDE = 512
"""Side of a part in LR pixels."""

_CELLS = 64
"""Places of a part are looked for in steps of a 64th of its side."""


@dataclass(frozen=True, slots=True)
class Crop:
    """A part of a scene.

    Attributes:
        path: Its file; the scene itself where that is hardly larger.
        facts: Facts of the whole scene.
        pixels: LR pixels of the part.
        read_seconds: Seconds that reading the whole scene would take.
        area_km2: Area of the whole scene; None where its place is not known.
    """

    path: Path
    facts: SceneFacts
    pixels: int
    read_seconds: float
    area_km2: float | None


def crop_of(source: Path, folder: Path, seed: str) -> Crop:
    """Copies a square of a scene whose share of pixels with a value is the scene's, as far as there is one.

    Among several such places the seed decides.

    Raises:
        SceneError: If the scene cannot be opened.
        rasterio.errors.RasterioError: If its pixels cannot be read.
    """
    with gdal(), Scene(source) as scene:
        facts, geometry = scene.facts, outline(scene.dataset).geometry
        area = None if geometry is None else area_of(geometry)
        height, width = min(SIDE, facts.height), min(SIDE, facts.width)
        whole = 2 * height * width >= facts.pixels
        row, column = (0, 0) if whole else _corner(scene.dataset, height, width, random.Random(seed))
        last = facts.height if whole else row + height
        start = time.perf_counter()
        scene.strip(row, last)
        read = (time.perf_counter() - start) * facts.height / (last - row)
    if whole:
        return Crop(source, facts, facts.pixels, read, area)
    # With the scene's own name, since names tell bands of classes.
    path = folder / "part" / Path(source).with_suffix(TIFF[0]).name
    path.parent.mkdir(exist_ok=True)
    _copy(source, path, Window(column, row, width, height))
    return Crop(path, facts, height * width, read, area)


def _corner(dataset: rasterio.DatasetReader, height: int, width: int, place: random.Random) -> tuple[int, int]:
    last_row, last_column = dataset.height - height, dataset.width - width
    if all(MaskFlags.all_valid in flags for flags in dataset.mask_flag_enums):
        return place.randint(0, last_row), place.randint(0, last_column)
    cell = max(1, min(height, width) // _CELLS)
    valid = dataset.dataset_mask(out_shape=(ceil(dataset.height / cell), ceil(dataset.width / cell))) > 0
    windows = np.lib.stride_tricks.sliding_window_view
    rows = windows(valid.astype(np.float64), max(1, height // cell), 0).mean(-1)
    shares = windows(rows, max(1, width // cell), 1).mean(-1)
    difference = abs(shares - valid.mean())
    row, column = place.choice(np.argwhere(difference <= difference.min() + 1e-9).tolist())
    return min(row * cell, last_row), min(column * cell, last_column)


def _copy(source: Path, target: Path, window: Window) -> None:
    with gdal(), open_raster(source) as dataset:
        palette = dataset.colorinterp[0] == ColorInterp.palette
        profile = {
            "driver": "GTiff",
            "dtype": dataset.dtypes[0],
            "count": dataset.count,
            "width": window.width,
            "height": window.height,
            "nodata": dataset.nodata,
            "crs": dataset.crs,
            "transform": dataset.window_transform(window),
        }
        with rasterio.open(target, "w", **profile) as part:
            if palette:
                part.write_colormap(1, dataset.colormap(1))
            else:
                part.colorinterp = dataset.colorinterp
            part.descriptions, part.units = dataset.descriptions, dataset.units
            part.scales, part.offsets = dataset.scales, dataset.offsets
            part.update_tags(**dataset.tags())
            for band in dataset.indexes:
                part.update_tags(band, **dataset.tags(band))
            part.write(dataset.read(window=window))
            masks = dataset.mask_flag_enums[0]
            if MaskFlags.per_dataset in masks and MaskFlags.alpha not in masks:
                part.write_mask(dataset.read_masks(1, window=window))


def work_per_pixel(source: Path, model: LoadedModel, settings: SceneSettings) -> float:
    """LR pixels that the network computes for each LR pixel of a scene, halos included.

    Raises:
        SceneError: As :func:`orchestrator.archive.scene.upscale.check_scene`.
    """
    from orchestrator.archive.scene.rows import make_worker

    with gdal(), Scene(source) as scene:
        meaning = settle(scene, model.facts, settings)
        facts = scene.facts
        worker = make_worker(scene, model, meaning, settings.for_bands(facts.bands, facts.dtype))
        return _computed(worker, facts.height, facts.width) / facts.pixels


def _computed(worker: "Worker", height: int, width: int) -> int:
    tile = worker.grid(worker.cells.rows, worker.cells.columns)
    rows = sum(ceil(min(worker.cells.rows, height - row) / tile.rows) for row in range(0, height, worker.cells.rows))
    columns = sum(
        ceil(min(worker.cells.columns, width - column) / tile.columns)
        for column in range(0, width, worker.cells.columns)
    )
    return rows * columns * (tile.rows + 2 * worker.halo) * (tile.columns + 2 * worker.halo)
