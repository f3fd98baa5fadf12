"""Colours that nobody sees, because their pixels are fully transparent, replaced by those beside them."""

import numpy as np
from numpy.typing import NDArray


def filled(pixels: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Gives fully transparent pixels the colour of the nearest pixel that is not; a network would mix the two.

    Programs leave anything there, most often black, so that what is visible must not depend on it. Where nothing is
    visible at all, the colour is black.

    Args:
        pixels: uint8 (H, W, C).
        alpha: uint8 (H, W).

    Returns:
        uint8 (H, W, C); ``pixels`` itself where none is hidden.
    """
    hidden = alpha == 0
    if not hidden.any():
        return pixels
    if hidden.all():
        return np.zeros_like(pixels)
    from scipy.ndimage import distance_transform_edt  # here, so that opaque images need no SciPy

    rows, columns = distance_transform_edt(hidden, return_distances=False, return_indices=True)
    result: NDArray[np.uint8] = pixels[rows, columns]
    return result
