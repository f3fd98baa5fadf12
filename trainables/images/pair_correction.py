"""Corrections of LR-HR pairs: registration by whole HR pixels, and radiometry of LR matched to HR."""

from collections.abc import Sequence

import numpy as np

from trainables.errors import UsageError
from trainables.images.raster import FULL_SCALE, PreparedImage


def registered(
    hr: PreparedImage, lr: PreparedImage, scale: int, shift: tuple[float, float]
) -> tuple[PreparedImage, PreparedImage]:
    """Cuts a pair to the part that both images show, so that at most half an HR pixel of displacement is left.

    Args:
        hr: HR image, r times as large as the LR image.
        lr: LR image.
        scale: Scale factor r.
        shift: Displacement (down, right) of the LR image against the HR image, in LR pixels.

    Returns:
        HR and LR image, whose arrays are views.

    Raises:
        UsageError: If nothing is common.
    """
    height, width = lr.pixels.shape[:2]
    rows, columns = (_common(side, scale, by) for side, by in zip((height, width), shift, strict=True))
    if min(rows[1].stop - rows[1].start, columns[1].stop - columns[1].start) < 1:
        raise UsageError(
            f"An LR image of {width}×{height} pixels was expected to be displaced by less than its size, found "
            f"{shift[0]:.1f} down and {shift[1]:.1f} right."
        )
    return _cut(hr, rows[0], columns[0]), _cut(lr, rows[1], columns[1])


def matched(lr: PreparedImage, slopes: Sequence[float | None], offsets: Sequence[float | None]) -> PreparedImage:
    """Gives an LR image the radiometry of its HR image.

    Args:
        lr: LR image.
        slopes: By band, a of LR = a · HR + b; None leaves the band as it is.
        offsets: By band, b, as a share of the value range.

    Raises:
        UsageError: If a slope is not positive.
    """
    full = FULL_SCALE[str(lr.pixels.dtype)]
    bands = lr.pixels.astype(np.float64)
    for number, (slope, offset) in enumerate(zip(slopes, offsets, strict=True)):
        if slope is None or offset is None:
            continue
        if slope <= 0:
            raise UsageError(f"A slope above 0 was expected, found {slope:.3g}: LR is a negative of HR.")
        bands[..., number] = (bands[..., number] - offset * full) / slope
    pixels = np.rint(bands).clip(0, full).astype(lr.pixels.dtype)
    if lr.valid is not None:
        pixels[~lr.valid] = 0
    return PreparedImage(pixels, lr.valid)


def _common(side: int, scale: int, shift: float) -> tuple[slice, slice]:
    """The rows of HR and of LR that show the same."""
    by = round(shift * scale)
    first, last = max(0, -(-by // scale)), min(side, (side * scale + by) // scale)
    return slice(first * scale - by, last * scale - by), slice(first, last)


def _cut(image: PreparedImage, rows: slice, columns: slice) -> PreparedImage:
    valid = None if image.valid is None else image.valid[rows, columns]
    return PreparedImage(image.pixels[rows, columns], valid)
