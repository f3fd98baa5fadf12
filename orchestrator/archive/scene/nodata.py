"""Pixels without a value: filled before the network sees them, and put back where they were.

Shapes: bands of H×W LR pixels, r the scale factor. Everything here uses a bounded neighbourhood and one fixed order of
operations, so that the result is the same in every tile.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]
Mask = NDArray[np.bool_]
_LIMIT = 3.3e38
"""Limit of valid values: -3.4e38, however it was rounded, means nodata, whether a file states it or not."""


def valid_samples(pixels: Pixels, nodata: float | None) -> Mask:
    """Mask of samples that are not nodata, NaN or infinite, nor at float32's limits, as no measurement is."""
    valid = np.abs(pixels) < _LIMIT if pixels.dtype.kind == "f" else np.ones(pixels.shape, bool)
    if nodata is not None and not np.isnan(nodata):
        valid &= pixels != nodata
    return valid


def filled(pixels: Pixels, valid: Mask, reach: int) -> Pixels:
    """Gives samples without a value that of their surroundings.

    Ring by ring outwards from the valid samples: each becomes the mean of its neighbours (of eight) that have a value
    already. What lies further than ``reach`` from any valid sample becomes 0; with the network's receptive radius as
    reach, no valid sample depends on it.

    Args:
        pixels: (bands, H, W).
        valid: The same shape.
        reach: Number of rings to fill. The result is right further than ``reach`` from the borders.

    Returns:
        float32 (bands, H, W).
    """
    result = np.where(valid, pixels, 0).astype(np.float32)
    for band, known in zip(result, valid, strict=True):
        if known.all() or not known.any():
            continue
        known = known.copy()
        for _ in range(reach):
            count = _sum_of_nine(known.astype(np.float32))
            ring = (count > 0) & ~known
            if not ring.any():
                break
            band[ring] = _sum_of_nine(band)[ring] / count[ring]
            known |= ring
    return result


def _sum_of_nine(band: NDArray[np.float32]) -> NDArray[np.float32]:
    padded = np.pad(band, 1)
    rows: NDArray[np.float32] = padded[:-2] + padded[1:-1] + padded[2:]
    total: NDArray[np.float32] = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    return total


def enlarged(pixels: Pixels, scale: int) -> Pixels:
    """Each sample as a block of r×r: (..., H, W) to (..., r·H, r·W)."""
    return pixels.repeat(scale, -2).repeat(scale, -1)


def nudge(pixels: Pixels, nodata: float | None) -> None:
    """Moves samples that happen to equal nodata to the next value, in place."""
    if nodata is None or np.isnan(nodata):
        return
    hit = pixels == nodata
    if hit.any():
        pixels[hit] = _beside(nodata, pixels.dtype)


def _beside(value: float, dtype: np.dtype[Any]) -> Any:
    if dtype.kind == "f":
        away = dtype.type(-np.inf if value >= np.finfo(dtype).max else np.inf)
        return np.nextafter(dtype.type(value), away)
    return value - 1 if value == np.iinfo(dtype).max else value + 1


def enlarged_alpha(alpha: Pixels, scale: int) -> Pixels:
    """Bilinear interpolation of transparency in whole numbers, which rounds alike everywhere.

    Args:
        alpha: Unsigned integers (H + 2, W + 2): the pixels with one more to each side.
        scale: r.

    Returns:
        (r·H, r·W) of the same type.
    """
    down = _blend(alpha.astype(np.int64), scale)
    both = _blend(down.T, scale).T
    whole = (2 * scale) ** 2
    return ((both + whole // 2) // whole).astype(alpha.dtype)


def _blend(lines: NDArray[np.int64], scale: int) -> NDArray[np.int64]:
    """Interpolates along the first axis and leaves one line less at each end; values are 2r times what they were."""
    result = np.empty(((len(lines) - 2) * scale, *lines.shape[1:]), np.int64)
    for phase in range(scale):
        offset = 2 * phase + 1 - scale  # in units of 1/(2r) LR pixels from the centre of the middle line
        beside = lines[:-2] if offset < 0 else lines[2:]
        result[phase::scale] = lines[1:-1] * (2 * scale - abs(offset)) + beside * abs(offset)
    return result
