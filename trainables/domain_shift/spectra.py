"""Slope of an image's power spectrum over spatial frequency."""

import numpy as np
from numpy.typing import NDArray

from trainables.errors import UsageError

Array = NDArray[np.float64]

_BINS = 12
_LEAST_SIDE = 16


def spectral_slope(plane: Array) -> float:
    """Exponent α of the radial power spectrum, power ∝ f^-α; about 2 for photographs (Field 1987), 0 for white noise.

    The middle square of the image less its mean, under a Hann window, from 3 cycles a side up to 0.5 cycles a pixel.
    Powers are averaged over rings of equal width in log f, and a line is fitted to log power.

    Args:
        plane: (H, W) luma, any scale; H and W at least 16.

    Raises:
        UsageError: If the image is too small, or the same everywhere.
    """
    side = min(plane.shape)
    if plane.ndim != 2 or side < _LEAST_SIDE:
        raise UsageError(f"A spectrum needs an image (H, W) of at least {_LEAST_SIDE} pixels, found {plane.shape}.")
    top, left = (plane.shape[0] - side) // 2, (plane.shape[1] - side) // 2
    square = plane[top : top + side, left : left + side]
    if np.ptp(square) == 0:
        raise UsageError("A spectrum needs an image that varies, found one that is the same everywhere.")
    window = np.hanning(side + 2)[1:-1]
    power = np.abs(np.fft.fft2((square - square.mean()) * np.outer(window, window))) ** 2
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side))
    edges = np.geomspace(3 / side, 0.5, _BINS + 1)
    ring = np.digitize(frequency, edges)
    rings = [ring == number for number in range(1, _BINS + 1) if (ring == number).any()]
    radius = np.log([np.exp(np.log(frequency[inside]).mean()) for inside in rings])
    levels = np.log([power[inside].mean() + np.finfo(float).tiny for inside in rings])
    return -float(np.polyfit(radius, levels, 1)[0])
