"""Noise: a magnitude MRI's, a photon-counting sensor's, a low-dose CT's.

Shapes: lr (N, C, h, w) in [0, 1]; gray (N,) bool, true where all channels are one channel and get the same noise.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

from trainables.degradation.draws import log_uniform, normal, uniform
from trainables.degradation.settings import Range

VIEWS = 1000
"""Projections of a CT scan over half a turn (LoDoPaB-CT, Leuschner et al. 2021, arXiv 1910.01113)."""

CT_PIXEL = 0.7
"""Side of an HR pixel of a CT slice in mm; LoDoPaB-CT has 0.72."""

WATER = 0.0193
"""Attenuation of water in 1/mm at an effective energy of 70 keV; 1000 HU are this much."""


def add_sensor_noise(lr: Tensor, read: Tensor, shot: Range, gray: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian noise of variance read² + shot²·signal.

    Args:
        lr: Images.
        read: (N,) standard deviations in the dark.
        shot: Standard deviation at full scale that photon counting adds; each band draws its own.
        gray: See the module.
        generator: Source of randomness.
    """
    deviation = read.view(-1, 1, 1, 1)
    if shot[1] > 0:
        count, channels = lr.shape[:2]
        at_full_scale = uniform(shot, count * channels, generator).view(count, channels, 1, 1)
        at_full_scale = torch.where(gray.to(lr.device).view(-1, 1, 1, 1), at_full_scale[:, :1], at_full_scale)
        signal = lr.detach().clamp(0, 1)
        deviation = (deviation.square() + at_full_scale.square() * signal).sqrt()
    return lr + deviation * normal(lr, gray, generator)


def add_rician_noise(lr: Tensor, deviations: Tensor, gray: Tensor, generator: torch.Generator) -> Tensor:
    """Magnitude of a complex image with Gaussian noise in both parts (Gudbjartsson and Patz 1995)."""
    deviation = deviations.view(-1, 1, 1, 1)
    real = lr + deviation * normal(lr, gray, generator)
    imaginary = deviation * normal(lr, gray, generator)
    # The small constant keeps the square root's gradient finite where the magnitude is zero.
    return (real.square() + imaginary.square() + 1e-12).sqrt()


def add_dose_noise(
    lr: Tensor,
    scale: int,
    photons: Range,
    attenuation: Range,
    window: float,
    gray: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Noise of a CT slice that was reconstructed from few photons by filtered back-projection.

    Photon counting gives a line integral p the variance exp(p)/N0. Back-projecting m views filtered by |f|·A(f) turns
    it into stationary Gaussian noise of power spectrum (π/m)·|f|·A(f)²·exp(p)/N0, f in cycles per LR pixel and the
    result in attenuation per LR pixel (Riederer, Pelc and Chesler, Phys. Med. Biol. 23(3), 1978). A is the Hann window
    times sinc², which is what back-projection's linear interpolation leaves.
    This is the noise of a scanner whose detector pixels are as wide as LR pixels, which is why it comes after
    decimation. In a real slice its strength varies from place to place with the rays that cross there; a patch does
    not show these rays, so that here each image draws one p.

    Args:
        lr: Images.
        scale: Scale factor r; an LR pixel is r·:data:`CT_PIXEL` mm wide.
        photons: N0, photons per detector pixel without a patient, drawn on a log scale.
        attenuation: Line integral p of the rays that carry the noise.
        window: Width of the gray scale: how many HU [0, 1] stands for.
        gray: See the module.
        generator: Source of randomness.
    """
    variance = uniform(attenuation, len(lr), generator).exp() / log_uniform(photons, len(lr), generator)
    hounsfield = variance.sqrt() * 1000 / (WATER * scale * CT_PIXEL)
    shape = _ramp(lr.shape[-2], lr.shape[-1], lr.device, lr.dtype)
    spectrum = torch.fft.rfft2(normal(lr, gray, generator)) * shape
    noise: Tensor = torch.fft.irfft2(spectrum, s=lr.shape[-2:])
    return lr + (hounsfield / window).view(-1, 1, 1, 1) * noise


@lru_cache(maxsize=16)
def _ramp(height: int, width: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Amplitude of the noise for unit variance of the line integrals, on the frequencies of ``rfft2``."""
    with torch.inference_mode(False):
        rows, columns = torch.fft.fftfreq(height, dtype=torch.float64), torch.fft.rfftfreq(width, dtype=torch.float64)
        frequency = torch.hypot(rows.unsqueeze(1), columns).clamp_max(0.5)
        apodisation = (torch.cos(math.pi * frequency) * torch.sinc(frequency)).square()
        return ((math.pi / VIEWS * frequency).sqrt() * apodisation).to(device=device, dtype=dtype)
