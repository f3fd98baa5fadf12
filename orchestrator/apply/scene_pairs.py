"""An HR scene with the LR scene that belongs to it: made by a degradation, or taken from a file of its own.

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
"""How far, in LR pixels, values are continued into what has none; beyond, the band's mean stands for them."""
_TOLERANCE = 0.5
"""By how many HR pixels the corners of an LR scene may lie off those of its HR scene: files round their origins."""

Pixels = NDArray[Any]
Mask = NDArray[np.bool_]


@contextmanager
def readable(file: Storage) -> Iterator[str]:
    """A path under which GDAL finds a file; what lies in a bucket is held in memory."""
    if not file.remote:
        yield file.path
        return
    with MemoryFile(file.read_bytes()) as memory:
        yield memory.name


def is_scene(file: Storage) -> bool:
    """Returns whether a TIFF holds what plain images do not: a place on earth, nodata, deeper values, other bands."""
    try:
        with gdal(), readable(file) as path, Scene(path) as scene:
            plain = scene.facts.kind == "none" and scene.facts.dtype == "uint8" and len(scene.image) in (1, 3)
            return not plain or scene.nodata is not None or scene.masked
    except SceneError as error:
        return error.kind == "unsupported"
    except Exception:  # such as an object that is denied: it is named when it is scored
        return False


def read_whole(scene: Scene) -> tuple[Pixels, Mask]:
    """All image bands, (bands, H, W) in the scene's data type, and which samples have a value.

    Raises:
        SceneError: ``corrupt``, if they cannot be read.
    """
    strip = scene.strip(0, scene.facts.height)
    return strip.pixels, np.ones(strip.pixels.shape, bool) if strip.valid is None else strip.valid


def degraded(pixels: Pixels, valid: Mask, degradation: Degradation, scale: int) -> tuple[Pixels, Mask]:
    """LR values by the linear part of a degradation, which keeps every depth and unit.

    Its noise, rounding to 8 bits and compression are of photographs and video, and are left out. An LR sample is valid
    where all r×r samples that it covers are; samples without a value take that of their surroundings while blurring.

    Args:
        pixels: (bands, H, W), sides being multiples of ``scale``.
        valid: The same shape.
        degradation: Its blur, at the middle of its range, and decimation are used.
        scale: Scale factor r.

    Returns:
        (bands, H/r, W/r), integers rounded and limited to their type, and which of them are valid.
    """
    # Around 0, so that what is filled with 0 stands for the mean, and float32 has all its digits for differences.
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
    """Writes LR values as a GeoTIFF that means the same as its HR scene: bands, scales, nodata or mask."""
    colours = [ColorInterp[name] for name in hr.colours]
    rgb = colours[:3] == [ColorInterp.red, ColorInterp.green, ColorInterp.blue] and lr.dtype != np.float32
    profile = {"driver": "GTiff", "dtype": lr.dtype.name, "photometric": "rgb" if rgb else "minisblack"}
    bands, height, width = lr.shape
    nudge(lr, hr.nodata)
    lr[~valid] = hr.nodata if hr.nodata is not None else np.nan if lr.dtype.kind == "f" else 0
    with rasterio.open(path, "w", **profile, count=bands, height=height, width=width, nodata=hr.nodata) as target:
        target.colorinterp = colours
        target.scales, target.offsets = hr.of_image(hr.dataset.scales), hr.of_image(hr.dataset.offsets)
        target.write(lr)
        if hr.nodata is None and lr.dtype.kind != "f" and not valid.all():
            target.write_mask(valid.all(0))


def check_pair(lr: Scene, hr: Scene, scale: int) -> None:
    """Makes sure that an LR scene shows what its HR scene shows, r times smaller; bounds where both state them.

    Raises:
        UnreadableImageError: If bands, data type, size, CRS or bounds do not go together.
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
    off = _farthest_corner(lr.dataset.transform * Affine.scale(1 / scale), hr.dataset.transform, *sizes[1])
    if off > _TOLERANCE:
        raise UnreadableImageError(
            f"bounds of LR must be those of HR, {_bounds(hr)}, found {_bounds(lr)}, {off:.1f} HR pixels off"
        )


def _farthest_corner(first: Affine, other: Affine, width: int, height: int) -> float:
    """In pixels of the other grid."""
    corners = np.array([(x, y) for x in (0, width) for y in (0, height)])
    places = np.array([~other * (first * tuple(corner)) for corner in corners])
    return float(np.abs(places - corners).max())


def _bounds(scene: Scene) -> str:
    return " ".join(f"{side:.9g}" for side in scene.dataset.bounds)


def _said(value: Any) -> str:
    return "none" if value is None else str(value)
