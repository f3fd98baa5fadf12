"""Replaces invisible values, of transparent pixels or padding, by the nearest visible ones; puts padding back."""

from typing import Any

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
    return np.zeros_like(pixels) if hidden.all() else nearest(pixels, hidden)


def nearest(values: NDArray[Any], hidden: NDArray[np.bool_]) -> NDArray[Any]:
    """Gives hidden pixels the value of the nearest one that is not.

    Args:
        values: (H, W) or (H, W, C).
        hidden: bool (H, W), False for at least one pixel.
    """
    from scipy.ndimage import distance_transform_edt  # here, so that images without hidden pixels need no SciPy

    rows, columns = distance_transform_edt(hidden, return_distances=False, return_indices=True)
    result: NDArray[Any] = values[rows, columns]
    return result


def put_back(larger: NDArray[Any], values: NDArray[Any], hidden: NDArray[np.bool_], scale: int) -> None:
    """Gives the r×r output pixels of each hidden pixel its own value, in place.

    Args:
        larger: The output, (r·H, r·W) or (r·H, r·W, C).
        values: The image, (H, W) or (H, W, C).
        hidden: bool (H, W).
        scale: Scale factor r.
    """
    hole = hidden.repeat(scale, 0).repeat(scale, 1)
    larger[hole] = values.repeat(scale, 0).repeat(scale, 1)[hole]
