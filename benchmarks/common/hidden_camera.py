"""A camera that none of the domains' degradations describes: real-looking LR images for experiments on pairs.

In linear light: an anisotropic, rotated blur with a wide halo, as a lens leaves behind, detectors that average r×r
pixels, and photon and read-out noise. Then, in the gamma of the file: sharpening that overshoots, colour at half the
resolution (4:2:0) and rounding to 8 bits. Nothing is displaced.
"""

import hashlib
import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float64]

GAMMA = 2.2
LONG, SHORT = 0.42, 0.25
"""Standard deviations of the blur along its axes, in LR pixels."""
ANGLE = (20.0, 40.0)
"""Degrees from which its long axis is drawn."""
HALO, HALO_WIDTH = 0.08, 2.5
"""Share of the light in the halo, and its standard deviation in LR pixels."""
SHOT, READ = 0.02, 0.0008
"""Standard deviations of the noise in linear light: that of photons at full scale, and that of the read-out."""
SHARPENING, SHARPENING_WIDTH = 0.5, 1.0
"""Unsharp mask: its amount, and the standard deviation of its blur in LR pixels."""

_TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


def photograph(hr: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """The LR image that the camera takes of a scene: (H, W, C) to (H/r, W/r, C).

    Args:
        hr: 8-bit gray or RGB, whose sides are multiples of ``scale``. All randomness depends on it alone.
        scale: Scale factor r.
    """
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(hr.tobytes()).digest()[:8], "big"))
    angle = math.radians(rng.uniform(*ANGLE))
    light = (hr / 255.0) ** GAMMA
    through_lens = np.stack([_blurred(light[..., band], angle, scale) for band in range(hr.shape[2])], axis=-1)
    height, width = (side // scale for side in hr.shape[:2])
    seen = through_lens.reshape(height, scale, width, scale, -1).mean((1, 3))
    seen = seen + rng.normal(size=seen.shape) * np.sqrt(READ**2 + SHOT**2 * seen.clip(0))
    stored = _sharpened(seen.clip(0, 1) ** (1 / GAMMA))
    return np.rint(_half_colour(stored).clip(0, 1) * 255).astype(np.uint8)


def _blurred(plane: Array, angle: float, scale: int) -> Array:
    sharp = ndimage.convolve(plane, _kernel(angle, scale), mode="reflect")
    return (1 - HALO) * sharp + HALO * ndimage.gaussian_filter(plane, HALO_WIDTH * scale)


def _kernel(angle: float, scale: int) -> Array:
    radius = math.ceil(3 * LONG * scale)
    down, right = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(float)
    along = math.cos(angle) * right + math.sin(angle) * down
    across = -math.sin(angle) * right + math.cos(angle) * down
    kernel: Array = np.exp(-0.5 * ((along / (LONG * scale)) ** 2 + (across / (SHORT * scale)) ** 2))
    return kernel / kernel.sum()


def _sharpened(image: Array) -> Array:
    sharpened: Array = image + SHARPENING * (image - ndimage.gaussian_filter(image, (SHARPENING_WIDTH,) * 2 + (0,)))
    return sharpened


def _half_colour(image: Array) -> Array:
    """RGB with its colour at half the resolution; gray as it is."""
    if image.shape[2] == 1:
        return image
    luma_colour = image @ _TO_YCC.T
    height, width = (side // 2 * 2 for side in image.shape[:2])
    colour = luma_colour[:height, :width, 1:].reshape(height // 2, 2, width // 2, 2, 2).mean((1, 3))
    luma_colour[:height, :width, 1:] = ndimage.zoom(colour, (2, 2, 1), order=1, grid_mode=True, mode="nearest")
    restored: Array = luma_colour @ np.linalg.inv(_TO_YCC).T
    return restored
