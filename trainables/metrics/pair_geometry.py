"""Compares what the two images of a pair show: content, place and scale.

Planes are (H, W) float; a displacement is (down, right) in pixels of the reference. Displacements are found in three
steps: the best match of a part of one image within the other (normalised cross-correlation, Lewis 1995), phase
correlation of many squares, and their median. What the squares' displacements have in common beyond it is a wrong
magnification: they grow from the middle outwards.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from trainables.metrics.registration import phase_shift

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Shift = tuple[float, float]
Window = tuple[slice, slice]

LEAST_SIDE = 24
"""Least height and width that can be registered."""

_FINE, _COARSE = 0.7, 6.0
"""Standard deviations of the Gaussians between which structure is compared: noise and gradients are left out."""
_SIDE, _LEAST_SQUARE, _SQUARES = 64, 16, 16
_LEAST_CONTRAST = 1 / 255
_LEAST_ENERGY = 1e-2
"""Energy of a part, as a share of the richest part's, below which it is too flat to be matched."""
_RING = (0.375, 0.5)
"""Cycles a pixel: the upper quarter of what an image's grid can hold."""
_TILE = 32


@dataclass(frozen=True, slots=True)
class Registration:
    """Position of one image on another.

    Attributes:
        shift: Displacement of the moved image, in its pixels.
        magnification: Size of what the moved image shows, divided by its size in the reference; None where fewer than
            four squares, or none far apart, were registered.
        squares: Number of squares that the shift is the median of.
    """

    shift: Shift
    magnification: float | None
    squares: int


def structure(plane: Array, valid: Mask) -> Array:
    """The part of an image that is compared: its detail of medium size, 0 where no pixel has a value."""
    known = np.where(valid, plane, plane[valid].mean() if valid.any() else 0.0)
    return np.where(valid, ndimage.gaussian_filter(known, _FINE) - ndimage.gaussian_filter(known, _COARSE), 0.0)


def best_match(image: Array, template: Array) -> tuple[float, int, int]:
    """Finds a small structure in a large one.

    Args:
        image: Structure, at least as large as the template.
        template: Structure.

    Returns:
        Normalised cross-correlation, -1 to 1, and the row and column of the template's corner in the image; (0, 0, 0)
        if either is flat.
    """
    from scipy.signal import fftconvolve  # here: it imports all of SciPy's statistics, which images alone do not need

    energy = float((template**2).sum())
    around = fftconvolve(image**2, np.ones(template.shape), mode="valid")
    if energy <= 0 or around.max() <= 0:
        return 0.0, 0, 0
    product = fftconvolve(image, template[::-1, ::-1], mode="valid")
    scores = product / np.sqrt(energy * np.maximum(around, _LEAST_ENERGY * around.max()))
    row, column = divmod(int(scores.argmax()), scores.shape[1])
    return float(scores[row, column]), row, column


def middle(valid: Mask) -> Window:
    """The middle half, along both sides, of the box around all valid pixels."""
    rows, columns = (np.flatnonzero(valid.any(axis)) for axis in (1, 0))
    return _half(rows), _half(columns)


def _half(places: NDArray[np.int64]) -> slice:
    first, size = int(places[0]), int(places[-1] - places[0] + 1)
    return slice(first + size // 4, first + size // 4 + max(size // 2, 1))


def overlapping(shape: tuple[int, ...], down: int, right: int) -> tuple[Window, Window]:
    """The parts of a reference and of an image displaced by whole pixels that show the same."""
    height, width = shape
    rows, columns = slice(max(down, 0), height + min(down, 0)), slice(max(right, 0), width + min(right, 0))
    before = (slice(rows.start - down, rows.stop - down), slice(columns.start - right, columns.stop - right))
    return before, (rows, columns)


def register(reference: Array, moved: Array, valid: Mask) -> Registration | None:
    """Registers two images of one size to a part of a pixel; None where no square of valid pixels has contrast.

    Args:
        reference: Plane.
        moved: Plane, displaced by a few pixels at most.
        valid: Where both have values.
    """
    side = min(max(min(reference.shape) // 2, _LEAST_SQUARE), _SIDE)
    places = _squares(moved, valid, side)
    if not places:
        return None
    found = np.array([phase_shift(reference[place], moved[place]) for place in places])
    down, right = np.median(found, axis=0).tolist()
    corners = np.array([[axis.start for axis in place] for place in places], dtype=float)
    return Registration((down, right), _magnification(corners, found, side), len(places))


def _squares(plane: Array, valid: Mask, side: int) -> list[Window]:
    """Squares of highest contrast among those without invalid pixels; neighbours share half of their pixels."""
    step = max(side // 2, 1)
    kept = []
    for row in range(0, plane.shape[0] - side + 1, step):
        for column in range(0, plane.shape[1] - side + 1, step):
            place = slice(row, row + side), slice(column, column + side)
            contrast = float(plane[place].std())
            if contrast >= _LEAST_CONTRAST and valid[place].all():
                kept.append((contrast, place))
    return [place for _, place in sorted(kept, key=lambda pair: -pair[0])[:_SQUARES]]


def _magnification(places: Array, shifts: Array, side: int) -> float | None:
    """Theil and Sen's median of slopes: what displacement grows by per pixel, over pairs of squares far apart."""
    first, second = np.triu_indices(len(places), 1)
    apart, grown = (values[second] - values[first] for values in (places, shifts))
    far = np.abs(apart) >= 0.75 * side
    if far.sum() < 4:
        return None
    return 1 + float(np.median(grown[far] / apart[far]))


def fine_transfer(reference: Array, moved: Array, valid: Mask, shift: Shift) -> float | None:
    """Share of the reference's contrast in the upper quarter of frequencies that the moved image holds.

    The real part of the cross-spectrum, the displacement undone, over the reference's power spectrum, both summed over
    squares under a Hann window: about 1 for equal images, 0 if what is there has nothing to do with the reference, as
    noise and the artefacts of enlargement.

    Args:
        reference: Plane.
        moved: Plane.
        valid: Where both have values.
        shift: Displacement of ``moved``.

    Returns:
        The share; None without a square of valid pixels, or if the reference has nothing there.
    """
    rows, columns = (np.fft.fftfreq(_TILE) for _ in range(2))
    ring = np.hypot(rows[:, None], columns)
    inside = (ring >= _RING[0]) & (ring <= _RING[1])
    undone = np.exp(2j * np.pi * (rows[:, None] * shift[0] + columns * shift[1]))
    window = np.outer(*[np.hanning(_TILE + 2)[1:-1]] * 2)
    cross, power = 0.0, 0.0
    for row in range(0, moved.shape[0] - _TILE + 1, _TILE // 2):
        for column in range(0, moved.shape[1] - _TILE + 1, _TILE // 2):
            place = slice(row, row + _TILE), slice(column, column + _TILE)
            if valid[place].all():
                first, second = (np.fft.fft2((p[place] - p[place].mean()) * window) for p in (reference, moved))
                cross += float((second * first.conj() * undone).real[inside].sum())
                power += float((np.abs(first) ** 2)[inside].sum())
    return cross / power if power > 0 else None
