"""Decimation by an integer factor: MATLAB's bicubic, a detector's aperture, truncation of k-space.

Each is linear along rows and along columns, so that LR = R · HR · Cᵀ with two small matrices, made once per size and
kept on the device; for patches two matrix products are the fastest form. A dense matrix is wasteful beyond
:data:`LARGEST_DENSE` pixels a side, where bicubic and area work window by window.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Decimation = Literal["bicubic", "area", "fourier"]

LARGEST_DENSE = 1024
"""Largest side in HR pixels that is decimated by a dense matrix."""

_SUPPORT = 2
"""Half the width of the bicubic kernel in LR pixels."""


def decimate(hr: Tensor, scale: int, kind: Decimation) -> Tensor:
    """Makes images smaller: (N, C, H, W) to (N, C, H/r, W/r).

    Args:
        hr: Images whose sides are multiples of ``scale``.
        scale: Scale factor r.
        kind: ``bicubic``: antialiased, a = -0.5, borders mirrored with the edge pixel doubled: MATLAB's ``imresize``;
            ``area``: mean over r×r pixels; ``fourier``: lowest 1/r of the frequencies, aligned to pixel centres.
    """
    if max(hr.shape[-2:]) > LARGEST_DENSE and kind in _WINDOWED:
        return _WINDOWED[kind](hr, scale)
    rows = _matrix(kind, hr.shape[-2], scale, hr.device, hr.dtype)
    columns = _matrix(kind, hr.shape[-1], scale, hr.device, hr.dtype)
    return rows @ hr @ columns.T


def decimation_matrix(kind: Decimation, size: int, scale: int) -> Tensor:
    """The (size/r, size) float64 matrix that decimates one axis."""
    return _MATRICES[kind](size, scale)


@lru_cache(maxsize=64)
def _matrix(kind: Decimation, size: int, scale: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    # Inference mode would mark the cached tensor as unfit for training later on.
    with torch.inference_mode(False):
        return decimation_matrix(kind, size, scale).to(device=device, dtype=dtype)


def _bicubic_matrix(size: int, scale: int) -> Tensor:
    small = size // scale
    centres = (torch.arange(small, dtype=torch.float64) + 0.5) * scale - 0.5
    reach = _SUPPORT * scale
    taps = centres.ceil().long().unsqueeze(1) + torch.arange(-reach, reach + 1)
    weights = _keys_kernel((taps - centres.unsqueeze(1)) / scale)
    weights = weights / weights.sum(1, keepdim=True)
    return torch.zeros(small, size, dtype=torch.float64).scatter_add_(1, mirrored(taps, size), weights)


def _keys_kernel(distance: Tensor) -> Tensor:
    """Keys's cubic convolution kernel with a = -0.5 (IEEE Trans. ASSP 29(6), 1981), of distances in LR pixels."""
    x = distance.abs()
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x <= 1, near, torch.where(x < _SUPPORT, far, torch.zeros_like(x)))


def mirrored(places: Tensor, size: int) -> Tensor:
    """Indices beyond the border, reflected with the edge pixel doubled: -1 is 0 and ``size`` is ``size - 1``."""
    within = places.remainder(2 * size)
    return torch.minimum(within, 2 * size - 1 - within)


def _area_matrix(size: int, scale: int) -> Tensor:
    return torch.eye(size // scale, dtype=torch.float64).repeat_interleave(scale, dim=1) / scale


def _fourier_matrix(size: int, scale: int) -> Tensor:
    """Keeps the lowest 1/r of the frequencies of the mirrored image.

    On the half-sample symmetric extension the Fourier series is the DCT-II, whose basis lies on pixel centres at both
    resolutions: cropping it moves nothing, where cropping an ordinary k-space moves the image by (r-1)/2 HR pixels.
    """
    small = size // scale
    frequency = torch.arange(small, dtype=torch.float64).unsqueeze(1)
    analysis = torch.cos(math.pi / size * frequency * (torch.arange(size, dtype=torch.float64) + 0.5))
    synthesis = torch.cos(math.pi / small * frequency * (torch.arange(small, dtype=torch.float64) + 0.5))
    weight = torch.full((small, 1), 2.0 / size, dtype=torch.float64)
    weight[0] = 1.0 / size
    return synthesis.T @ (weight * analysis)


def _windowed_bicubic(hr: Tensor, scale: int) -> Tensor:
    """The same numbers as the matrix: PyTorch's kernel is Keys's too, but at a border it drops what lies outside."""
    reach = _SUPPORT * scale
    for axis in (-2, -1):
        places = torch.arange(-reach, hr.shape[axis] + reach, device=hr.device)
        hr = hr.index_select(axis, mirrored(places, hr.shape[axis]))
    size = (hr.shape[-2] // scale, hr.shape[-1] // scale)
    lr = functional.interpolate(hr, size=size, mode="bicubic", antialias=True)
    return lr[..., _SUPPORT:-_SUPPORT, _SUPPORT:-_SUPPORT]


def _windowed_area(hr: Tensor, scale: int) -> Tensor:
    return functional.avg_pool2d(hr, scale)


_MATRICES: dict[str, Callable[[int, int], Tensor]] = {
    "bicubic": _bicubic_matrix,
    "area": _area_matrix,
    "fourier": _fourier_matrix,
}
_WINDOWED: dict[str, Callable[[Tensor, int], Tensor]] = {"bicubic": _windowed_bicubic, "area": _windowed_area}
DECIMATIONS = tuple(_MATRICES)
