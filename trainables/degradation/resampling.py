"""Blur and decimation by an integer factor: MATLAB's bicubic, a detector's aperture, truncation of k-space.

All are linear along rows and along columns, so that LR = R · HR · Cᵀ with two small matrices, kept on the device; for
patches two matrix products are the fastest form. Blurred with weights b, R is Σ b_k R_k, where R_k decimates the image
shifted by k pixels. Dense matrices are wasteful beyond :data:`LARGEST_DENSE` pixels a side, where blur, bicubic and
area work window by window.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from trainables.degradation.settings import Decimation

LARGEST_DENSE = 512
"""Largest side in HR pixels that is decimated by a dense matrix."""

_SUPPORT = 2
"""Half the width of the bicubic kernel in LR pixels."""


def decimate(hr: Tensor, scale: int, kind: Decimation, blur: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Blurs images and makes them smaller: (N, C, H, W) to (N, C, H/r, W/r).

    Args:
        hr: Images whose sides are multiples of ``scale``.
        scale: Scale factor r.
        kind: ``bicubic``: antialiased, a = -0.5, borders mirrored with the edge pixel doubled: MATLAB's ``imresize``;
            ``area``: mean over r×r pixels; ``fourier``: lowest 1/r of the frequencies, aligned to pixel centres.
        blur: Weights of each image's blur along rows and along columns, two (N, 2R + 1); borders are mirrored about
            the edge pixel. None for no blur.
    """
    if max(hr.shape[-2:]) > LARGEST_DENSE:
        return _decimate_large(hr if blur is None else _blurred(hr, *blur), scale, kind)
    if blur is None:
        rows, columns = (_matrix(kind, size, scale, hr.device, hr.dtype) for size in hr.shape[-2:])
        return rows @ hr @ columns.T
    down, across = (
        _blurring_matrices(weights, kind, size, scale) for weights, size in zip(blur, hr.shape[-2:], strict=True)
    )
    narrow = hr.flatten(1, 2) @ across.mT
    return down.unsqueeze(1) @ narrow.view(*hr.shape[:3], -1)


def gaussian_weights(sigmas: Tensor, shifts: Tensor | None, radius: int) -> Tensor:
    """Weights (N, 2R + 1) of Gaussian blurs.

    Args:
        sigmas: (N,) standard deviations in HR pixels.
        shifts: (N,) displacements in HR pixels, linearly interpolated, or None.
        radius: R in HR pixels.
    """
    offsets = torch.arange(-radius, radius + 1, device=sigmas.device, dtype=sigmas.dtype)
    if shifts is None:
        return _gaussian(offsets, sigmas)
    whole = shifts.floor().unsqueeze(1)
    rest = shifts.unsqueeze(1) - whole
    return (1 - rest) * _gaussian(offsets - whole, sigmas) + rest * _gaussian(offsets - whole - 1, sigmas)


def decimation_matrix(kind: Decimation, size: int, scale: int) -> Tensor:
    """The (size/r, size) float64 matrix that decimates one axis."""
    return _MATRICES[kind](size, scale)


def _gaussian(distances: Tensor, sigmas: Tensor) -> Tensor:
    weights = torch.exp(-0.5 * (distances / sigmas.clamp_min(1e-3).unsqueeze(1)).square())
    return weights / weights.sum(1, keepdim=True)


def _blurring_matrices(weights: Tensor, kind: Decimation, size: int, scale: int) -> Tensor:
    shifted = shifted_matrices(kind, size, scale, weights.shape[1] // 2, weights.device, weights.dtype)
    return (weights @ shifted.flatten(1)).view(-1, *shifted.shape[1:])


@lru_cache(maxsize=8)
def shifted_matrices(
    kind: Decimation, size: int, scale: int, radius: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """The matrices (2R + 1, size/r, size) that decimate an image shifted by -R to R pixels."""
    with torch.inference_mode(False):
        plain, places = decimation_matrix(kind, size, scale), torch.arange(size)
        shifted = torch.zeros(2 * radius + 1, *plain.shape, dtype=plain.dtype)
        for matrix, shift in zip(shifted, range(-radius, radius + 1), strict=True):
            matrix.index_add_(1, _mirrored_about_edge(places + shift, size), plain)
        return shifted.to(device=device, dtype=dtype)


def _mirrored_about_edge(places: Tensor, size: int) -> Tensor:
    return size - 1 - (places.remainder(max(2 * size - 2, 1)) - (size - 1)).abs()


@lru_cache(maxsize=16)
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


def _decimate_large(hr: Tensor, scale: int, kind: Decimation) -> Tensor:
    if kind == "area":
        return functional.avg_pool2d(hr, scale)
    if kind == "fourier":
        rows, columns = (_matrix(kind, size, scale, hr.device, hr.dtype) for size in hr.shape[-2:])
        return rows @ hr @ columns.T
    # PyTorch's kernel is Keys's too, but at a border it drops what MATLAB mirrors.
    for axis in (-2, -1):
        places = torch.arange(-_SUPPORT * scale, hr.shape[axis] + _SUPPORT * scale, device=hr.device)
        hr = hr.index_select(axis, mirrored(places, hr.shape[axis]))
    size = (hr.shape[-2] // scale, hr.shape[-1] // scale)
    lr = functional.interpolate(hr, size=size, mode="bicubic", antialias=True)
    return lr[..., _SUPPORT:-_SUPPORT, _SUPPORT:-_SUPPORT]


def _blurred(images: Tensor, down: Tensor, across: Tensor) -> Tensor:
    count, channels, height, width = images.shape
    flat = images.reshape(1, count * channels, height, width)
    for weights, axis in ((down, -2), (across, -1)):
        size, radius = flat.shape[axis], weights.shape[1] // 2
        places = torch.arange(-radius, size + radius, device=images.device)
        flat = flat.index_select(axis, _mirrored_about_edge(places, size))
        kernel = weights.repeat_interleave(channels, dim=0)[:, None, None]
        flat = functional.conv2d(flat, kernel.mT if axis == -2 else kernel, groups=count * channels)
    return flat.view(count, channels, height, width)


_MATRICES: dict[Decimation, Callable[[int, int], Tensor]] = {
    "bicubic": _bicubic_matrix,
    "area": _area_matrix,
    "fourier": _fourier_matrix,
}
