"""A scene of any size, a mosaic of generated satellite images: DEFLATE, internal tiles of 512."""

import tempfile
from pathlib import Path

import numpy as np
import rasterio
from PIL import Image

from orchestrator.archive.scene.reader import gdal
from trainables.samples import write_samples

KINDS = {"RGB uint8": ("uint8", 3, (0.0, 255.0)), "4 bands uint16": ("uint16", 4, (0.0, 10000.0))}
"""Data type, bands and range of each kind."""


def make_scene(path: Path, side: int, kind: str, seed: int = 0) -> Path:
    """A mosaic of generated images, turned by a seed, written row by row."""
    dtype, bands, _ = KINDS[kind]
    with tempfile.TemporaryDirectory() as folder:
        write_samples(Path(folder), "satellite", 4, 1, 0, (512, 512))
        images = [np.array(Image.open(file).convert("RGB")) for file in sorted(Path(folder).rglob("*.png"))]
    rng, step = np.random.default_rng(seed), images[0].shape[0]
    profile = {"driver": "GTiff", "width": side, "height": side, "count": bands, "dtype": dtype, "tiled": True}
    profile |= {"blockxsize": 512, "blockysize": 512, "compress": "deflate", "predictor": 2, "bigtiff": "if_safer"}
    profile |= {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 500000, 0, -10, 5000000)}
    colours = "rgb" if bands == 3 else "minisblack"
    with gdal(GDAL_NUM_THREADS=2), rasterio.open(path, "w", photometric=colours, **profile) as target:
        for row in range(0, side, step):
            turned = [np.rot90(images[rng.integers(len(images))], rng.integers(4)) for _ in range(0, side, step)]
            strip = np.moveaxis(np.concatenate(turned, 1), -1, 0)[:, : side - row, :side]
            if dtype == "uint16":
                strip = np.concatenate([strip, strip[:1] // 2 + strip[1:2] // 2])
                strip = (strip * 14.0 + 300 + rng.normal(0, 12, strip.shape)).clip(1, 10000).astype(np.uint16)
            target.write(strip, window=rasterio.windows.Window(0, row, *strip.shape[:0:-1]))
    return path
