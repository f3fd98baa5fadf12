"""Pictures of a few scenes: the output as a whole, and the same spot of source and output in their own pixels."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from orchestrator.archive.report.outcomes import SceneOutcome
from orchestrator.archive.scene.open_raster import GDAL_ERRORS
from orchestrator.archive.scene.reader import gdal
from orchestrator.foundation.file_types import JPEG_2000
from orchestrator.foundation.page import data_uri
from orchestrator.foundation.storage import Storage

WHOLE, SPOT = 160, 48
"""Longest side of the picture of a whole output, and side of a spot in LR pixels."""

_PERCENTILES = (2.0, 98.0)


@dataclass(frozen=True, slots=True)
class Thumbnails:
    """Pictures of a scene as data URIs; None where a file cannot be read.

    Attributes:
        whole: The output, reduced.
        source: A spot of the source.
        output: The same spot of the output.
    """

    whole: str | None = None
    source: str | None = None
    output: str | None = None


def thumbnails_of(outcome: SceneOutcome, scale: int) -> Thumbnails:
    """Pictures of a scene; brightness is stretched alike in both pictures of the spot.

    Args:
        outcome: The scene.
        scale: Scale factor r.
    """
    whole = spot = None
    try:
        with _opened(outcome.output, "GTiff") as dataset:
            rows, columns = (max(1, side // scale) for side in dataset.shape)
            first = max(0, (rows - SPOT) // 2), max(0, (columns - SPOT) // 2)
            size = min(SPOT, rows), min(SPOT, columns)
            reduced = max(dataset.shape) / WHOLE
            shape = tuple(max(1, round(side / max(reduced, 1))) for side in dataset.shape)
            pixels = _read(dataset, None, shape)
            whole = _uri(_stretched(pixels, _limits(pixels)))
            window = Window(first[1] * scale, first[0] * scale, size[1] * scale, size[0] * scale)
            values = _read(dataset, window, (size[0] * scale, size[1] * scale))
            limits = _limits(values)
            spot = _uri(_stretched(values, limits))
        with _opened(outcome.source, _driver(outcome.source)) as dataset:
            window = Window(first[1], first[0], size[1], size[0])
            return Thumbnails(whole, _uri(_stretched(_read(dataset, window, size), limits)), spot)
    except (*GDAL_ERRORS, ValueError, MemoryError):
        return Thumbnails(whole, None, spot)


def _driver(source: str) -> str:
    return "JP2OpenJPEG" if PurePosixPath(source).suffix.lower() in JPEG_2000 else "GTiff"


@contextmanager
def _opened(uri: str, driver: str) -> Iterator["rasterio.io.DatasetReader"]:
    """A raster, of which only the bytes that are needed are read, by one driver that opens no other file."""
    place = Storage(uri)
    with gdal(), place.filesystem.open_input_file(place.path) as file, rasterio.open(file, driver=driver) as dataset:
        yield dataset


def _read(dataset: "rasterio.io.DatasetReader", window: Window | None, shape: tuple[int, ...]) -> NDArray[Any]:
    """Red, green and blue as the file names them, or else its first band; NaN where there is no value."""
    colours = {colour: band for band, colour in zip(dataset.indexes, dataset.colorinterp, strict=True)}
    wanted = [colours.get(colour) for colour in (ColorInterp.red, ColorInterp.green, ColorInterp.blue)]
    bands = [band for band in wanted if band is not None] if None not in wanted else [1]
    pixels = dataset.read(bands, window=window, out_shape=(len(bands), *shape), masked=True)
    return np.asarray(np.ma.filled(pixels.astype(np.float32), np.nan))


def _limits(pixels: NDArray[Any]) -> tuple[float, float]:
    finite = pixels[np.isfinite(pixels)]
    low, high = np.percentile(finite, _PERCENTILES) if finite.size else (0.0, 1.0)
    return float(low), float(max(high, low + 1e-6))


def _stretched(pixels: NDArray[Any], limits: tuple[float, float]) -> NDArray[np.uint8]:
    low, high = limits
    scaled = np.nan_to_num((pixels - low) / (high - low) * 255, nan=0.0, posinf=255.0, neginf=0.0)
    return scaled.clip(0, 255).round().astype(np.uint8)


def _uri(pixels: NDArray[np.uint8]) -> str:
    stream = BytesIO()
    picture = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
    Image.fromarray(np.ascontiguousarray(picture)).save(stream, "PNG", optimize=True)
    return data_uri(stream.getvalue())
