"""Pairs of an HR scene and its LR scene, which is made by a degradation or read from a file.

Shapes: image bands (alpha left out) of H×W HR pixels, r the scale factor.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.io import MemoryFile

from orchestrator.archive.scene.nodata import filled, nudge
from orchestrator.archive.scene.reader import Scene, gdal
from orchestrator.archive.scene.types import SceneError
from orchestrator.foundation.storage import Storage
from trainables.degradation import Degradation
from trainables.images.codec import UnreadableImageError

_REACH = 8
"""Distance in LR pixels up to which values are continued into pixels without one; beyond, they get the band's mean."""
_TOLERANCE = 0.5
"""Largest offset in HR pixels between the corners of an LR scene and its HR scene: files round their origins."""

Pixels = NDArray[Any]
Mask = NDArray[np.bool_]


@contextmanager
def readable(file: Storage) -> Iterator[str]:
    """A path by which GDAL can open a file; an object of a bucket is held in memory."""
    if not file.remote:
        yield file.path
        return
    with MemoryFile(file.read_bytes()) as memory:
        yield memory.name


def is_scene(file: Storage) -> bool:
    """Returns whether a TIFF is no plain image: georeferenced, with nodata, not of 8 bits, or with other bands."""
    try:
        with gdal(), readable(file) as path, Scene(path) as scene:
            plain = scene.facts.kind == "none" and scene.facts.dtype == "uint8" and len(scene.image) in (1, 3)
            return not plain or scene.nodata is not None or scene.masked
    except SceneError as error:
        return error.kind == "unsupported"
    except Exception:  # such as access denied: reported when it is scored
        return False


def read_whole(scene: Scene) -> tuple[Pixels, Mask]:
    """All image bands, (bands, H, W) in the scene's data type, and a mask of the samples that have a value.

    Raises:
        SceneError: ``corrupt``, if they cannot be read.
    """
    strip = scene.strip(0, scene.facts.height)
    return strip.pixels, np.ones(strip.pixels.shape, bool) if strip.valid is None else strip.valid


def degraded(pixels: Pixels, valid: Mask, degradation: Degradation, scale: int) -> tuple[Pixels, Mask]:
    """LR values by the linear part of a degradation, which keeps every depth and unit.

    Its noise, rounding to 8 bits and compression are those of photographs and video, and are left out. An LR sample is
    valid if all r×r samples that it covers are; samples without a value are filled from their surroundings for the
    blur.

    Args:
        pixels: (bands, H, W); the sides are multiples of ``scale``.
        valid: Mask of the same shape.
        degradation: The degradation, of which blur, at the middle of its range, and decimation are used.
        scale: Scale factor r.

    Returns:
        (bands, H/r, W/r), integers rounded and clipped to their type, and the mask of valid ones.
    """
    # Centred, so that filling with 0 means the mean, and float32 has all its digits for differences.
    mean = np.array([band[known].mean() if known.any() else 0 for band, known in zip(pixels, valid, strict=True)])
    centred = filled(np.where(valid, pixels, 0) - mean[:, None, None], valid, _REACH * scale)
    with torch.inference_mode():
        lr = degradation.linear(torch.from_numpy(centred)[None], scale)[0].numpy() + mean[:, None, None]
    if pixels.dtype.kind != "f":
        limits = np.iinfo(pixels.dtype)
        lr = lr.round().clip(limits.min, limits.max)
    bands, height, width = lr.shape
    known: Mask = np.logical_and.reduce(valid.reshape(bands, height, scale, width, scale), axis=(2, 4))
    return lr.astype(pixels.dtype), known


def write_lr(path: Path, lr: Pixels, valid: Mask, hr: Scene) -> None:
    """Writes LR values as a GeoTIFF with the same bands, scales, and nodata or mask as its HR scene."""
    colours = [ColorInterp[name] for name in hr.colours]
    rgb = colours[:3] == [ColorInterp.red, ColorInterp.green, ColorInterp.blue] and lr.dtype != np.float32
    profile = {"driver": "GTiff", "dtype": lr.dtype.name, "photometric": "rgb" if rgb else "minisblack"}
    bands, height, width = lr.shape
    nudge(lr, hr.nodata)
    lr[~valid] = hr.nodata if hr.nodata is not None else np.nan if lr.dtype.kind == "f" else 0
    with rasterio.open(path, "w", **profile, count=bands, height=height, width=width, nodata=hr.nodata) as target:
        target.colorinterp = colours
        target.descriptions = hr.of_image(hr.dataset.descriptions)
        target.scales, target.offsets = hr.of_image(hr.dataset.scales), hr.of_image(hr.dataset.offsets)
        target.write(lr)
        if hr.nodata is None and lr.dtype.kind != "f" and not valid.all():
            target.write_mask(valid.all(0))


def check_pair(lr: Scene, hr: Scene, scale: int) -> None:
    """Checks that an LR scene fits its HR scene: same bands and CRS, r times smaller, same bounds if georeferenced.

    Raises:
        UnreadableImageError: If bands, data type, size, CRS or bounds do not fit.
    """
    for what, found, expected in (
        ("number of bands", len(lr.image), len(hr.image)),
        ("data type", lr.facts.dtype, hr.facts.dtype),
        ("georeferencing", lr.facts.kind, hr.facts.kind),
        ("CRS", lr.dataset.crs, hr.dataset.crs),
    ):
        if found != expected:
            raise UnreadableImageError(f"{what} of LR must be that of HR, {_said(expected)}, found {_said(found)}")
    sizes = [(scene.facts.width, scene.facts.height) for scene in (lr, hr)]
    if sizes[1] != (sizes[0][0] * scale, sizes[0][1] * scale):
        (width, height), (hr_width, hr_height) = sizes
        raise UnreadableImageError(
            f"HR must be {scale} times as large as LR, {width * scale}×{height * scale} pixels, "
            f"found {hr_width}×{hr_height}"
        )
    if hr.facts.kind != "georeferenced":
        return
    off = _farthest_corner(lr.dataset.transform @ Affine.scale(1 / scale), hr.dataset.transform, *sizes[1])
    if off > _TOLERANCE:
        raise UnreadableImageError(
            f"bounds of LR must be those of HR, {_bounds(hr)}, found {_bounds(lr)}, {off:.1f} HR pixels off"
        )


def _farthest_corner(first: Affine, other: Affine, width: int, height: int) -> float:
    """Largest distance between corners of two grids, in pixels of the second."""
    corners = np.array([(x, y) for x in (0, width) for y in (0, height)])
    places = np.array([~other @ (first @ tuple(corner)) for corner in corners])
    return float(np.abs(places - corners).max())


def _bounds(scene: Scene) -> str:
    return " ".join(f"{side:.9g}" for side in scene.dataset.bounds)


def _said(value: Any) -> str:
    return "none" if value is None else str(value)
