"""Raw pixels on local disk: uncompressed tiled BigTIFFs, complete or absent."""

import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from orchestrator.archive.scene.reader import GDAL_ERRORS, Scene
from orchestrator.archive.scene.types import PartFacts, SceneError, SceneSettings

_COLUMNS = 4096
"""Most columns that are compared or copied at once, so that memory does not grow with the scene."""


@contextmanager
def create_raw(
    path: Path, scene: Scene, scale: int, rows: int, settings: SceneSettings
) -> Iterator["rasterio.io.DatasetWriter"]:
    """A raw file of all HR columns and some rows; removed if anything fails.

    Raises:
        SceneError: ``disk``, if not everything reached it. GDAL's own close does not say so.
    """
    try:
        with writing(path):
            target = rasterio.open(path, "w", **_profile(scene, scale, rows, settings))
        try:
            yield target
        finally:
            with writing(path):
                target.close()
        with writing(path), rasterio.open(path) as written:
            check_extents(written, path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def output_colours(scene: Scene) -> list[ColorInterp]:
    """Colour interpretation of all bands of the output."""
    colours = [ColorInterp[colour] for colour in scene.colours]
    if scene.alpha is not None:
        colours.insert(min(scene.alpha - 1, len(colours)), ColorInterp.alpha)
    return colours


def _profile(scene: Scene, scale: int, rows: int, settings: SceneSettings) -> dict[str, object]:
    colours = output_colours(scene)
    palette = scene.palette and not scene.expanded
    rgb = colours[:3] == [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
    return {
        "driver": "GTiff",
        "width": scene.facts.width * scale,
        "height": rows * scale,
        "count": len(colours),
        "dtype": scene.facts.dtype,
        "nodata": None if scene.expanded else scene.nodata,
        "tiled": True,
        "blockxsize": settings.blocksize,
        "blockysize": settings.blocksize,
        "interleave": "pixel",
        "bigtiff": "yes",
        "photometric": "palette"
        if palette
        else "rgb"
        if rgb and scene.facts.dtype in ("uint8", "uint16")
        else "minisblack",
        # Else GDAL writes the extra bands as unspecified first, and as alpha only after the pixels.
        "alpha": "yes" if scene.alpha == len(colours) else "no",
        **scene.encoding.colour,
    }


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns GDAL's errors of writing into failures of the class ``disk``."""
    try:
        yield
    except GDAL_ERRORS as error:
        free = shutil.disk_usage(path.parent).free if path.parent.exists() else 0
        reason = " ".join(str(error).split())[:200].rstrip(". ")
        raise SceneError("disk", f"Writing {path.name} failed with {free / 1e6:.0f} MB free: {reason}.") from None


def check_room(folder: Path, needed: int) -> None:
    """Fails before any work if a disk has too little free space.

    Raises:
        SceneError: ``disk``.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise SceneError(
            "disk", f"The scene needs {needed / 1e6:.0f} MB in {folder}, where {free / 1e6:.0f} MB are free."
        )


def check_extents(dataset: "rasterio.io.DatasetReader", path: Path) -> None:
    """Checks that every internal tile of a TIFF, overviews included, is there and lies within the file.

    Raises:
        SceneError: ``disk``, if one is missing or cut short.
    """
    size = path.stat().st_size
    bands = [1] if dataset.interleaving.value == "PIXEL" else dataset.indexes
    for band in bands:
        for overview, factor in enumerate([1, *dataset.overviews(band)], start=-1):
            level = None if overview < 0 else overview
            for y in range(math.ceil(math.ceil(dataset.height / factor) / dataset.block_shapes[0][0])):
                for x in range(math.ceil(math.ceil(dataset.width / factor) / dataset.block_shapes[0][1])):
                    offset = dataset.get_tag_item(f"BLOCK_OFFSET_{x}_{y}", "TIFF", band, level)
                    length = dataset.get_tag_item(f"BLOCK_SIZE_{x}_{y}", "TIFF", band, level)
                    if not offset or not length or int(offset) + int(length) > size:
                        raise SceneError(
                            "disk", f"Not all of {path.name} was written: its tile {x}, {y} is missing or cut short."
                        )


def join(parts: Sequence[PartFacts], path: Path, scene: Scene, scale: int, settings: SceneSettings) -> None:
    """Copies parts into one raw file.

    Raises:
        SceneError: ``disk``.
    """
    with create_raw(path, scene, scale, scene.facts.height, settings) as target:
        for part in parts:
            with rasterio.open(part.path) as raw:
                for window in windows(raw.width, raw.height, settings.blocksize):
                    down = Window(window.col_off, window.row_off + part.rows[0] * scale, window.width, window.height)
                    with writing(path):
                        target.write(raw.read(window=window), window=down)
                        if scene.masked or scene.palette:
                            target.write_mask(raw.read_masks(1, window=window), window=down)


def windows(width: int, height: int, blocksize: int) -> Iterator[Window]:
    """All of an image in pieces of whole internal tiles."""
    columns = max(1, _COLUMNS // blocksize) * blocksize
    for row in range(0, height, blocksize):
        for column in range(0, width, columns):
            yield Window(column, row, min(columns, width - column), min(blocksize, height - row))


def same_pixels(first: "rasterio.io.DatasetReader", second: "rasterio.io.DatasetReader", blocksize: int) -> bool:
    """Returns True if two files hold the same values and masks; all of both is decoded."""
    masked = "per_dataset" in {flag.name for flag in first.mask_flag_enums[0]}
    for window in windows(first.width, first.height, blocksize):
        if not _equal(first.read(window=window), second.read(window=window)):
            return False
        if masked and not np.array_equal(first.read_masks(1, window=window), second.read_masks(1, window=window)):
            return False
    return True


def _equal(first: Any, second: Any) -> bool:
    return np.array_equal(first.view(np.uint8), second.view(np.uint8))  # bytes: NaN equals itself
