"""Noise level of an image, estimated from the image alone."""

import numpy as np
from numpy.typing import NDArray

from trainables.errors import UsageError

_MAD_OF_NORMAL = 0.6744897501960817
"""Median of |z| of a standard normal z."""


def noise_level(plane: NDArray[np.float64]) -> float:
    """Standard deviation of white noise, by the median absolute deviation of wavelet coefficients.

    Donoho & Johnstone 1994 ("Ideal spatial adaptation by wavelet shrinkage"): at the finest scale a picture leaves most
    coefficients near zero, so their median is the noise's. Diagonal Haar coefficients are used. Texture as fine as a
    pixel counts as noise, so on decimated images it is an upper bound, to be compared with that of other images of the
    same kind. Noise below about half a step of an 8-bit scale is lost in the rounding.

    Args:
        plane: (H, W), each at least 2 pixels.

    Returns:
        σ on the scale of ``plane``, 0 or more.

    Raises:
        UsageError: If the image is too small.
    """
    if plane.ndim != 2 or min(plane.shape) < 2:
        raise UsageError(f"A noise level needs an image (H, W) of at least 2×2 pixels, found {plane.shape}.")
    height, width = (side // 2 * 2 for side in plane.shape)
    even, odd = plane[0:height:2, :width], plane[1:height:2, :width]
    diagonal = ((even[:, 0::2] - even[:, 1::2]) - (odd[:, 0::2] - odd[:, 1::2])) / 2
    return float(np.median(np.abs(diagonal))) / _MAD_OF_NORMAL
