"""Measures one LR-HR pair: overlap, registration, scale and radiometry.

Shapes: C bands, an LR image of H×W pixels, an HR image of r·H × r·W. Values are shares of the domain's value range,
between 0 and 1. All is measured on the LR grid, between the LR image and the HR image averaged over r×r pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor
from torch.nn import functional

from trainables.errors import UsageError
from trainables.metrics.pair_geometry import (
    LEAST_SIDE,
    Array,
    Mask,
    Shift,
    best_match,
    fine_transfer,
    middle,
    overlapping,
    register,
    structure,
)

ALIKE = 0.6
"""Correlation from which two images are taken to show the same."""

_SCALES = (1, 2, 3, 4, 6, 8)
_CLEARER = 0.15
"""By how much another scale has to match better to be believed."""
_BLOCK = 4
"""Radiometry is compared on means of so many by so many LR pixels: blur, noise and small displacements average out."""
_LEAST_BLOCKS, _MOST_BLOCKS = 8, 512
_LEAST_SPREAD = 0.01
_LEAST_CONTRAST = 1e-3
"""Standard deviation of structure below which there may be nothing but noise."""


@dataclass(frozen=True, slots=True)
class PairMeasures:
    """Measures of one pair; None for what its content does not tell, or where it shows something else.

    Attributes:
        overlap: Pixels with values in both images, as a share of those with values in either, on the LR grid.
        correlation: Normalised cross-correlation of structure at the best displacement, -1 to 1.
        shift: Displacement (down, right) of the LR image against the HR image, in LR pixels.
        magnification: How much larger the LR image shows things than the HR image averaged to its grid, as a factor
            near 1.
        shown_scale: Scale factor at which the images match clearly better than at r.
        fine_transfer: How much of the averaged HR image's contrast in the upper quarter of frequencies the LR image
            holds; near 0 for an LR image that was enlarged.
        slopes: By band, a of LR = a · HR + b; None where a band is flat.
        offsets: By band, b, as a share of the value range.
    """

    overlap: float
    correlation: float | None = None
    shift: Shift | None = None
    magnification: float | None = None
    shown_scale: int | None = None
    fine_transfer: float | None = None
    slopes: tuple[float | None, ...] = field(default=())
    offsets: tuple[float | None, ...] = field(default=())


def measure_pair(
    hr: Tensor, lr: Tensor, scale: int, hr_valid: Tensor | None = None, lr_valid: Tensor | None = None
) -> PairMeasures:
    """Measures a pair.

    Args:
        hr: (C, r·H, r·W).
        lr: (C, H, W).
        scale: Scale factor r.
        hr_valid: (r·H, r·W) bool; None if all pixels have a value.
        lr_valid: (H, W) bool.

    Raises:
        UsageError: If bands or sizes do not fit.
    """
    check_sizes(hr.shape, lr.shape, scale)
    means, hr_known = on_lr_grid(hr, hr_valid, scale)
    values = lr.double().numpy()
    lr_known = np.ones(values.shape[1:], bool) if lr_valid is None else lr_valid.numpy()
    either = int((hr_known | lr_known).sum())
    overlap = int((hr_known & lr_known).sum()) / either if either else 0.0
    if not overlap or min(values.shape[1:]) < LEAST_SIDE:
        return PairMeasures(overlap)
    first, second = structure(means.mean(0), hr_known), structure(values.mean(0), lr_known)
    if min(first.std(), second.std()) < _LEAST_CONTRAST:
        return PairMeasures(overlap)
    correlation, start = _whole_displacement(first, second, lr_known)
    shown = None
    if correlation < ALIKE + _CLEARER:
        shown = _shown_scale(hr, values.mean(0), lr_known, scale, correlation)
    if correlation < ALIKE or shown is not None:
        return PairMeasures(overlap, correlation, shown_scale=shown)
    before, after = overlapping(hr_known.shape, *start)
    means, values, common = means[:, *before], values[:, *after], hr_known[before] & lr_known[after]
    slopes, offsets = radiometry(means, values, common)
    measures = PairMeasures(overlap, correlation, shown_scale=shown, slopes=slopes, offsets=offsets)
    first, second = means.mean(0), values.mean(0)
    found = register(first, second, common)
    if found is None:
        return measures
    return replace(
        measures,
        shift=(found.shift[0] + start[0], found.shift[1] + start[1]),
        magnification=found.magnification,
        fine_transfer=fine_transfer(first, second, common, found.shift),
    )


def check_sizes(hr: Sequence[int], lr: Sequence[int], scale: int) -> None:
    """Refuses a pair whose shapes (C, height, width) do not belong together.

    Raises:
        UsageError: If it does, with both shapes.
    """
    if hr[0] != lr[0]:
        raise UsageError(f"HR and LR must have the same bands, found {hr[0]} and {lr[0]}.")
    if (hr[1], hr[2]) != (scale * lr[1], scale * lr[2]):
        found = " and ".join(f"{hr[k] / lr[k]:.4g}" for k in (1, 2))
        raise UsageError(
            f"An HR image must have {scale} times the height and width of its LR image, found {hr[2]}×{hr[1]} and "
            f"{lr[2]}×{lr[1]} pixels, which is {found} times."
        )


def on_lr_grid(hr: Tensor, valid: Tensor | None, scale: int) -> tuple[Array, Mask]:
    """An HR image averaged over r×r pixels: (C, H, W), and where all r×r have a value.

    Args:
        hr: (C, r·H, r·W).
        valid: (r·H, r·W) bool; None if all pixels have a value.
        scale: Scale factor r.
    """
    means = functional.avg_pool2d(hr[None].double(), scale)[0].numpy()
    if valid is None:
        return means, np.ones(means.shape[1:], bool)
    return means, functional.avg_pool2d(valid[None, None].double(), scale)[0, 0].numpy() > 1 - 0.5 / scale**2


def radiometry(means: Array, values: Array, common: Mask) -> tuple[tuple[float | None, ...], tuple[float | None, ...]]:
    """Robust regression LR = slope · HR + offset of each band, on means of blocks of pixels.

    Args:
        means: (C, H, W) HR image on the LR grid.
        values: (C, H, W) LR image.
        common: (H, W), where both have values.

    Returns:
        Slopes and offsets by band; None where a band is flat or too few blocks have values.
    """
    height, width = (side // _BLOCK * _BLOCK for side in common.shape)
    whole = _block_means(common[None, :height, :width].astype(float))[0] > 1 - 1e-6
    lines = []
    for x, y in zip(*(_block_means(image[:, :height, :width])[:, whole] for image in (means, values)), strict=True):
        every = -(-len(x) // _MOST_BLOCKS) or 1
        lines.append(_line(x[::every], y[::every]))
    return tuple(slope for slope, _ in lines), tuple(offset for _, offset in lines)


def _block_means(image: Array) -> Array:
    bands, height, width = image.shape
    means: Array = image.reshape(bands, height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK).mean((2, 4))
    return means


def _line(x: Array, y: Array) -> tuple[float | None, float | None]:
    """Repeated medians (Siegel 1982), which hold until half of the blocks show a change."""
    if len(x) < _LEAST_BLOCKS or np.ptp(np.quantile(x, (0.05, 0.95))) < _LEAST_SPREAD:
        return None, None
    from scipy.stats import siegelslopes  # here, so that images without real pairs need none of SciPy's statistics

    line = siegelslopes(y, x)
    return float(line.slope), float(line.intercept)


def _whole_displacement(first: Array, second: Array, lr_known: Mask) -> tuple[float, tuple[int, int]]:
    """Correlation at the best displacement by whole pixels, up to about a quarter of a side."""
    part = middle(lr_known)
    score, row, column = best_match(first, second[part])
    return score, (part[0].start - row, part[1].start - column)


def _shown_scale(hr: Tensor, plane: Array, lr_known: Mask, scale: int, correlation: float) -> int | None:
    """The scale factor at which an LR image shows what the HR image shows, at any place."""
    best, shown = max(ALIKE, correlation + _CLEARER), None
    target = structure(plane, lr_known)
    for other in _SCALES:
        size = [round(side / other) for side in hr.shape[1:]]
        if other == scale or min(size) < LEAST_SIDE:
            continue
        resized = functional.interpolate(hr.mean(0)[None, None], size, mode="bilinear", antialias=True)[0, 0]
        candidate = structure(resized.double().numpy(), np.ones(size, bool))
        large, small = (candidate, target[middle(lr_known)]) if other < scale else (target, candidate)
        score = best_match(large, small)[0]
        if score > best:
            best, shown = score, other
    return shown
