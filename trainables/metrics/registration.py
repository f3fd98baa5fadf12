"""Sub-pixel registration: displacement of one image against another, to a hundredth of a pixel."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_HIGHEST = 0.25
"""Cycles a pixel up to which phases count: above, aliasing and new detail differ even between aligned images."""
_REACH, _STEPS = 1.5, 100


def phase_shift(reference: Array, moved: Array) -> tuple[float, float]:
    """The displacement (down, right) of ``moved`` against ``reference`` in pixels, by phase correlation.

    Kuglin and Hines 1975, on low frequencies under a Hann window. The whole pixels come from the peak of the inverse
    transform; on what both images then have in common, the rest is the peak on a grid of 1/100 pixel around zero, as in
    Guizar-Sicairos, Thurman and Fienup 2008 (https://doi.org/10.1364/OL.33.000156). Blind to gain and offset.
    Displacements up to about a quarter of a side can be found. Own code, because scikit-image's
    ``phase_cross_correlation`` counts all frequencies alike, also those that aliasing has filled.

    Args:
        reference: (H, W), 16 pixels or more to a side.
        moved: (H, W).
    """
    height, width = reference.shape
    whole = np.fft.ifft2(_phases(reference, moved)).real
    row, column = divmod(int(whole.argmax()), width)
    down, right = row - height * (row > height // 2), column - width * (column > width // 2)
    rows, columns = slice(max(down, 0), height + min(down, 0)), slice(max(right, 0), width + min(right, 0))
    before = (slice(rows.start - down, rows.stop - down), slice(columns.start - right, columns.stop - right))
    rest = _phases(reference[before], moved[rows, columns])
    offsets = np.arange(-round(_REACH * _STEPS), round(_REACH * _STEPS) + 1) / _STEPS
    # Frequencies that are not counted need not be summed.
    low = [np.abs(np.fft.fftfreq(side)) <= _HIGHEST for side in rest.shape]
    waves = [np.exp(2j * np.pi * np.outer(offsets, np.fft.fftfreq(len(kept))[kept])) for kept in low]
    fine = (waves[0] @ rest[np.ix_(*low)] @ waves[1].T).real
    best = divmod(int(fine.argmax()), offsets.size)
    return down + float(offsets[best[0]]), right + float(offsets[best[1]])


def _phases(reference: Array, moved: Array) -> NDArray[np.complex128]:
    """The cross-power spectrum at unit magnitude, zero at high frequencies."""
    window = np.outer(*(np.hanning(side + 2)[1:-1] for side in reference.shape))
    first, second = (np.fft.fft2((image - image.mean()) * window) for image in (reference, moved))
    cross = second * first.conj()
    low = np.hypot(*np.ix_(*(np.fft.fftfreq(side) for side in reference.shape))) <= _HIGHEST
    phases: NDArray[np.complex128] = np.where(low, cross / np.maximum(np.abs(cross), np.finfo(float).tiny), 0)
    return phases
