"""An operator's own scenes on disk: drawn four-band GeoTIFFs with nodata, clouds and a place on earth."""

from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin

from trainables.samples.multispectral import BANDS, SEASONS, Season, scene

COLOURS = (ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.undefined)


def write_geotiff(path: Path, values: NDArray[np.uint16], pixel: float = 2.5, names: tuple[str, ...] = BANDS) -> Path:
    """Writes (H, W, C) with 0 as nodata, on a grid of UTM 31N."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width, bands = values.shape
    profile = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": bands,
        "dtype": values.dtype,
        "crs": "EPSG:32631",
        "transform": from_origin(500_000, 4_600_000, pixel, pixel),
        "nodata": 0,
        "tiled": True,
        "blockxsize": 128,
        "blockysize": 128,
        "compress": "deflate",
        "predictor": 2,
    }
    with rasterio.open(path, "w", **profile) as out:
        out.write(values.transpose(2, 0, 1))
        for number, name in enumerate(names, 1):
            out.set_band_description(number, name)
        if names == BANDS:
            out.colorinterp = COLOURS
    return path


def write_sites(folder: Path, sites: int, side: int = 192, seasons: tuple[Season, ...] = SEASONS[:2]) -> list[Path]:
    """Writes HR scenes, a file for each site and season, in a folder for each site; every third ends at a swath."""
    paths = []
    for site in range(sites):
        for season in seasons:
            drawn = scene(site, season, (side, side), edge=site % 3 == 2)
            paths.append(write_geotiff(folder / f"site{site:02d}" / f"{season}.tif", drawn.raster.values))
    return paths
