"""The chain from HR to LR: optics → decimation → noise → rounding to the sensor's depth → compression.

Shapes: hr (N, C, H, W) and lr (N, C, H/r, W/r), float in [0, 1]. Every image of a batch draws its own parameters from
the ranges of a :class:`Degradation`. All of it runs batched on the images' device, without waiting for it, and is
differentiable: rounding passes gradients straight through.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from trainables.degradation.draws import integers, to_levels, uniform
from trainables.degradation.h264 import h264
from trainables.degradation.jpeg import jpeg
from trainables.degradation.noise import add_dose_noise, add_rician_noise, add_sensor_noise
from trainables.degradation.resampling import decimate, gaussian_weights
from trainables.degradation.settings import Degradation, Range
from trainables.errors import UsageError


def degrade(settings: Degradation, hr: Tensor, scale: int, gray: Tensor, generator: torch.Generator) -> Tensor:
    """Degrades a batch.

    Args:
        settings: Ranges to draw from.
        hr: (N, C, H, W) in [0, 1]; H and W must be multiples of ``scale``. Values are checked only for a single image
            on the CPU, where looking at them costs nothing that matters.
        scale: Scale factor r.
        gray: (N,) bool; where true, all channels get the same noise, because they are one channel.
        generator: Source of randomness on ``hr``'s device.

    Returns:
        (N, C, H/r, W/r) in [0, 1], multiples of 1/levels.

    Raises:
        UsageError: If H or W is not a multiple of ``scale``, if ``hr`` is no float tensor or not in [0, 1], or if a
            codec gets other than three channels.
    """
    _check_images(settings, hr, scale)
    lr = decimate(hr, scale, settings.decimation, _draw_blur(settings, hr, scale, generator))
    lr = _add_noise(settings, lr, scale, gray, generator)
    return _compress(settings, to_levels(lr.clamp(0, 1), settings.levels), generator)


def linear(settings: Degradation, hr: Tensor, scale: int) -> Tensor:
    """The part that is linear and the same for every image: blur or MTF at the middle of its range, decimation.

    Left out are displacement, whose mean is none, noise, rounding and compression.

    Args:
        settings: Ranges, of which the middle is taken.
        hr: (N, C, H, W) of any values; H and W must be multiples of ``scale``.
        scale: Scale factor r.

    Returns:
        (N, C, H/r, W/r), neither rounded nor clipped.

    Raises:
        UsageError: If H or W is not a multiple of ``scale``.
    """
    _check_size(hr, scale)
    fixed = replace(settings, blur=_middle(settings.blur), mtf=settings.mtf and _middle(settings.mtf), jitter=0.0)
    return decimate(hr, scale, settings.decimation, _draw_blur(fixed, hr, scale, torch.Generator(hr.device)))


def _check_images(settings: Degradation, hr: Tensor, scale: int) -> None:
    _check_size(hr, scale)
    if not hr.is_floating_point():
        raise UsageError(f"HR images must be float in [0, 1], found {hr.dtype}.")
    if (settings.jpeg is not None or settings.h264 is not None) and hr.shape[1] != 3:
        raise UsageError(f"JPEG and H.264 need three channels, found {hr.shape[1]}.")
    if len(hr) == 1 and hr.device.type == "cpu":
        low, high = (float(end) for end in hr.detach().aminmax())
        if not -1e-3 <= low <= high <= 1.001:
            raise UsageError(f"HR images must lie in [0, 1], found values from {low:g} to {high:g}.")


def _draw_blur(
    settings: Degradation, hr: Tensor, scale: int, generator: torch.Generator
) -> tuple[Tensor, Tensor] | None:
    """Weights along rows and columns, in HR pixels."""
    sigmas, largest = None, 0.0
    if settings.mtf is not None:
        # Decimation passes this much at Nyquist; the Gaussian has to do the rest.
        aperture = 1 / (scale * math.sin(math.pi / (2 * scale))) if settings.decimation == "area" else 1.0
        sigmas = scale / math.pi * (-2 * torch.log(uniform(settings.mtf, len(hr), generator) / aperture)).sqrt()
        largest = scale / math.pi * math.sqrt(-2 * math.log(settings.mtf[0] / aperture))
    elif settings.blur[1] > 0:
        sigmas, largest = uniform(settings.blur, len(hr), generator) * scale, settings.blur[1] * scale
    if sigmas is None and settings.jitter == 0:
        return None
    if sigmas is None:
        sigmas = torch.zeros(len(hr), device=generator.device)
    radius = min(math.ceil(3 * largest) + math.ceil(settings.jitter * scale), *(side - 1 for side in hr.shape[-2:]))
    if settings.jitter == 0:
        weights = gaussian_weights(sigmas, None, radius).to(hr.dtype)
        return weights, weights
    shifts = uniform((-settings.jitter * scale, settings.jitter * scale), 2 * len(hr), generator).view(2, -1)
    down, across = (gaussian_weights(sigmas, shift, radius).to(hr.dtype) for shift in shifts)
    return down, across


def _add_noise(settings: Degradation, lr: Tensor, scale: int, gray: Tensor, generator: torch.Generator) -> Tensor:
    if settings.photons is not None:
        lr = add_dose_noise(lr, scale, settings.photons, settings.attenuation, settings.window, gray, generator)
    if settings.noise[1] == 0 and settings.shot[1] == 0:
        return lr
    deviations = uniform(settings.noise, len(lr), generator)
    if settings.noise_kind == "rician":
        return add_rician_noise(lr, deviations, gray, generator)
    return add_sensor_noise(lr, deviations, settings.shot, gray, generator)


def _compress(settings: Degradation, lr: Tensor, generator: torch.Generator) -> Tensor:
    by_jpeg = None if settings.jpeg is None else jpeg(lr, integers(settings.jpeg, len(lr), generator))
    if settings.h264 is None:
        return lr if by_jpeg is None else by_jpeg
    by_h264 = h264(lr, integers(settings.h264, len(lr), generator))
    if by_jpeg is None:
        return by_h264
    first = integers((0, 1), len(lr), generator).bool().view(-1, 1, 1, 1)
    return torch.where(first, by_jpeg, by_h264)


def _check_size(hr: Tensor, scale: int) -> None:
    if hr.shape[-2] % scale or hr.shape[-1] % scale:
        raise UsageError(f"An HR size must be a multiple of {scale}, found {tuple(hr.shape[-2:])}.")


def _middle(bounds: Range) -> Range:
    return (sum(bounds) / 2, sum(bounds) / 2)
