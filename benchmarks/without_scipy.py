"""The few functions of scipy that generated images need, from NumPy and PyTorch, for a machine that has no scipy.

Images differ from scipy's by rounding at most.
"""

import sys
import types
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

Array = NDArray[np.floating[Any]]


def install() -> None:
    """Answers ``import scipy`` and ``scipy.ndimage`` with what is here."""
    ndimage = types.SimpleNamespace(gaussian_filter=gaussian_filter, map_coordinates=map_coordinates)
    sys.modules["scipy"] = types.SimpleNamespace(fft=np.fft, ndimage=ndimage)  # type: ignore[assignment]
    sys.modules["scipy.ndimage"] = ndimage  # type: ignore[assignment]


def gaussian_filter(values: Array, sigma: Sequence[float]) -> Array:
    """Blurs along each axis by its own sigma, mirrored at the edges, cut at four sigma; 0 leaves an axis alone."""
    for axis, width in enumerate(sigma):
        if width > 0:
            reach = int(4 * width + 0.5)
            taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
            edges = [(reach, reach) if number == axis else (0, 0) for number in range(values.ndim)]
            padded = np.moveaxis(np.pad(values, edges, mode="symmetric"), axis, 0)
            size = values.shape[axis]
            blurred = sum(tap * padded[start : start + size] for start, tap in enumerate(taps / taps.sum()))
            values = np.moveaxis(np.asarray(blurred, dtype=values.dtype), 0, axis)
    return values


def map_coordinates(values: Array, coordinates: Array, *, order: int, mode: str) -> Array:
    """Samples (H, W) at rows and columns (2, H, W), linearly, mirrored at the edges."""
    assert (order, mode) == (1, "grid-mirror"), "nothing else is needed"
    height, width = values.shape
    row, column = (torch.from_numpy(np.ascontiguousarray(one)).double() for one in coordinates)
    places = torch.stack([(2 * column + 1) / width - 1, (2 * row + 1) / height - 1], dim=-1)
    image = torch.from_numpy(np.ascontiguousarray(values)).double()
    sampled = functional.grid_sample(image[None, None], places[None], padding_mode="reflection", align_corners=False)
    return np.asarray(sampled[0, 0].numpy(), dtype=values.dtype)
