"""Corrections of LR-HR pairs: registration by whole HR pixels, and radiometry of LR matched to HR."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from trainables.errors import UsageError
from trainables.images.raster import Raster


def registered(hr: Raster, lr: Raster, scale: int, shift: tuple[float, float]) -> tuple[Raster, Raster]:
    """Cuts a pair to the part that both images show, so that at most half an HR pixel of displacement is left.

    Args:
        hr: HR image, r times as high and wide as the LR image.
        lr: LR image.
        scale: Scale factor r.
        shift: Displacement (down, right) of the LR image against the HR image, in LR pixels.

    Returns:
        HR and LR image, whose arrays are views.

    Raises:
        UsageError: If nothing is common.
    """
    rows, columns = (_common(side, scale, by) for side, by in zip((lr.height, lr.width), shift, strict=True))
    if min(axis[1].stop - axis[1].start for axis in (rows, columns)) < 1:
        raise UsageError(
            f"An LR image of {lr.width}×{lr.height} pixels was expected to be displaced by less than its size, found "
            f"{shift[0]:.1f} down and {shift[1]:.1f} right."
        )
    return _cut(hr, rows[0], columns[0]), _cut(lr, rows[1], columns[1])


def matched(lr: Raster, slopes: Sequence[float | None], offsets: Sequence[float | None]) -> Raster:
    """Gives an LR image the radiometry of its HR image.

    Args:
        lr: LR image; whole numbers are rounded, and cut off at the ends of their type.
        slopes: By band, a of LR = a · HR + b; None leaves the band as it is.
        offsets: By band, b, in units of the values.

    Raises:
        UsageError: If a slope is not positive.
    """
    bands = lr.values.astype(np.float64)
    for number, (slope, offset) in enumerate(zip(slopes, offsets, strict=True)):
        if slope is None or offset is None:
            continue
        if slope <= 0:
            raise UsageError(f"A slope above 0 was expected, found {slope:.3g}: LR is a negative of HR.")
        bands[..., number] = (bands[..., number] - offset) / slope
    kind = lr.values.dtype
    if np.issubdtype(kind, np.integer):
        limits = np.iinfo(kind)
        bands = np.rint(bands).clip(limits.min, limits.max)
    if lr.valid is not None:
        bands = np.where(lr.valid[..., None], bands, lr.values)
    return replace(lr, values=bands.astype(kind))


def _common(side: int, scale: int, shift: float) -> tuple[slice, slice]:
    """The rows of HR and of LR that show the same."""
    by = round(shift * scale)
    first, last = max(0, -(-by // scale)), min(side, (side * scale + by) // scale)
    return slice(first * scale - by, last * scale - by), slice(first, last)


def _cut(image: Raster, rows: slice, columns: slice) -> Raster:
    return image.window(rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start)
