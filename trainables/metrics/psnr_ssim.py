"""PSNR and SSIM as the super-resolution literature measures them. Higher is better for both.

8-bit colour images are compared on luma (BT.601, studio range 16-235) on the [0, 255] scale, gray images on their one
channel, both with a border of r pixels left out. SSIM is Wang et al. 2004: 11×11 Gaussian window with σ = 1.5,
valid region only, population covariance.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

HIGHEST_PSNR = 100.0
"""PSNR of equal planes: one blank image that is upscaled exactly must not make a mean infinite."""

SSIM_WINDOW = 11
"""Side of a window in pixels."""


def luma(image: Tensor) -> Tensor:
    """BT.601 studio-range luma of an RGB image: (3, H, W) in [0, 1] to (H, W) in [16, 235]."""
    red, green, blue = image.double()
    plane: Tensor = 16.0 + 65.481 * red + 128.553 * green + 24.966 * blue
    return plane


def comparable(image: Tensor, gray: bool, border: int) -> Tensor:
    """The plane that is compared: luma or the gray channel on [0, 255], without the border.

    Args:
        image: (3, H, W) in [0, 1].
        gray: True if the three channels are copies of one.
        border: Pixels left out at each side.
    """
    return inside(image.double().mean(0) * 255 if gray else luma(image), border)


def inside(image: Tensor, border: int) -> Tensor:
    """(..., H, W) without ``border`` pixels at each side."""
    height, width = image.shape[-2:]
    return image[..., border : height - border, border : width - border]


def psnr(first: Tensor, second: Tensor, valid: Tensor | None = None) -> float:
    """Peak signal-to-noise ratio in dB of two (H, W) planes on [0, 255], at most :data:`HIGHEST_PSNR`.

    Args:
        first: One plane.
        second: The other.
        valid: bool (H, W), pixels that count; None for all. NaN where there are none.
    """
    difference = first - second
    error = (difference if valid is None else difference[valid]).square().mean().item()
    return HIGHEST_PSNR if error == 0 else min(10 * math.log10(255**2 / error), HIGHEST_PSNR)


def ssim(first: Tensor, second: Tensor, valid: Tensor | None = None) -> float:
    """Structural similarity of two (H, W) planes on [0, 255]; each side must have 11 pixels or more.

    Args:
        first: One plane.
        second: The other.
        valid: bool (H, W), pixels that have a value; windows of 11×11 that hold others are left out, and NaN is given
            where none is left. None for all.
    """
    if valid is not None:
        first, second = (torch.where(valid, plane, 0) for plane in (first, second))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean1, mean2 = _window(first), _window(second)
    variance1 = _window(first * first) - mean1 * mean1
    variance2 = _window(second * second) - mean2 * mean2
    covariance = _window(first * second) - mean1 * mean2
    similarity = ((2 * mean1 * mean2 + c1) * (2 * covariance + c2)) / (
        (mean1 * mean1 + mean2 * mean2 + c1) * (variance1 + variance2 + c2)
    )
    if valid is not None:
        lost = functional.max_pool2d((~valid).to(first.dtype)[None], SSIM_WINDOW, stride=1)[0]
        similarity = similarity[lost == 0]
    return float(similarity.mean())


def _window(plane: Tensor) -> Tensor:
    offsets = torch.arange(-5, 6, dtype=plane.dtype, device=plane.device)
    weights = torch.exp(-offsets.square() / (2 * 1.5**2))
    weights = weights / weights.sum()
    rows = functional.conv2d(plane[None, None], weights.view(1, 1, 1, 11))
    return functional.conv2d(rows, weights.view(1, 1, 11, 1))[0, 0]
