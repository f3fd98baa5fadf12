"""HR to LR: what a domain's camera, scanner or codec does to an image.

Shapes: hr (N, C, H, W) and lr (N, C, H/r, W/r), float in [0, 1]. Every image of a batch draws its own parameters.
Blur, decimation and noise run batched on the images' device and are differentiable; JPEG is a real codec round trip
and is not. LR values are rounded to 8 bits, as a stored image's are.
"""

import io
import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from trainables.degradation.resampling import DECIMATIONS, Decimation, decimate
from trainables.errors import UsageError

Range = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Degradation:
    """A chain blur → decimation → noise → JPEG with ranges to draw from.

    Attributes:
        blur: Standard deviation of a Gaussian blur, in units of the scale factor (0.5 at r = 4 is 2 HR pixels).
        decimation: ``bicubic``: antialiased, MATLAB's; ``area``: mean over r×r pixels, a detector's aperture;
            ``fourier``: truncation of k-space, aligned to pixel centres.
        noise: Standard deviation on the [0, 1] scale.
        noise_kind: ``gaussian``, or ``rician`` as in magnitude images (Gudbjartsson and Patz 1995).
        jpeg: Quality range, 1 to 100, or None for no compression.
    """

    blur: Range = (0.0, 0.0)
    decimation: Decimation = "bicubic"
    noise: Range = (0.0, 0.0)
    noise_kind: Literal["gaussian", "rician"] = "gaussian"
    jpeg: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for name, (low, high) in {
            "blur": self.blur,
            "noise": self.noise,
            "jpeg": self.jpeg or (1, 1),
        }.items():
            if not 0 <= low <= high:
                raise UsageError(f"The range of {name} must be 0 <= low <= high, found ({low}, {high}).")
        if self.decimation not in DECIMATIONS or self.noise_kind not in ("gaussian", "rician"):
            raise UsageError(f"There is no decimation '{self.decimation}' or noise '{self.noise_kind}'.")
        if self.jpeg is not None and not 1 <= self.jpeg[0] <= self.jpeg[1] <= 100:
            raise UsageError(f"JPEG quality must lie between 1 and 100, found {self.jpeg}.")

    def __call__(self, hr: Tensor, scale: int, gray: Tensor, generator: torch.Generator) -> Tensor:
        """Degrades a batch.

        Args:
            hr: (N, C, H, W) in [0, 1]; H and W must be multiples of ``scale``.
            scale: Scale factor r.
            gray: (N,) bool; where true, all channels get the same noise, because they are one channel.
            generator: Source of randomness on ``hr``'s device.

        Returns:
            (N, C, H/r, W/r) in [0, 1], multiples of 1/255.

        Raises:
            UsageError: If H or W is not a multiple of ``scale``.
        """
        if hr.shape[-2] % scale or hr.shape[-1] % scale:
            raise UsageError(f"An HR size must be a multiple of {scale}, found {tuple(hr.shape[-2:])}.")
        if self.blur[1] > 0:
            hr = _gaussian_blur(hr, _uniform(self.blur, len(hr), generator) * scale, self.blur[1] * scale)
        lr = decimate(hr, scale, self.decimation)
        if self.noise[1] > 0:
            lr = self._add_noise(lr, gray, generator)
        lr = _to_8_bits(lr)
        return lr if self.jpeg is None else _jpeg(lr, self.jpeg, generator)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as a model card stores them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Degradation":
        """The inverse of :meth:`to_dict`, also after a trip through JSON."""
        plain: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**plain)

    def describe(self) -> str:
        """One line for reports, with every range."""
        parts = []
        if self.blur[1] > 0:
            parts.append(f"Gaussian blur σ {self.blur[0]:g}–{self.blur[1]:g} × scale")
        parts.append({"bicubic": "bicubic", "area": "area-average", "fourier": "k-space truncation"}[self.decimation])
        if self.noise[1] > 0:
            kind = self.noise_kind.replace("rician", "Rician").replace("gaussian", "Gaussian")
            parts.append(f"{kind} noise σ {self.noise[0]:g}–{self.noise[1]:g}")
        if self.jpeg is not None:
            parts.append(f"JPEG quality {self.jpeg[0]}–{self.jpeg[1]}")
        return ", ".join(parts)

    def _add_noise(self, lr: Tensor, gray: Tensor, generator: torch.Generator) -> Tensor:
        deviation = _uniform(self.noise, len(lr), generator).view(-1, 1, 1, 1)
        noisy = lr + deviation * _normal(lr, gray, generator)
        if self.noise_kind == "gaussian":
            return noisy
        # The small constant keeps the square root's gradient finite where the magnitude is zero.
        return (noisy.square() + (deviation * _normal(lr, gray, generator)).square() + 1e-12).sqrt()


def _uniform(bounds: Range, count: int, generator: torch.Generator) -> Tensor:
    draw = torch.rand(count, generator=generator, device=generator.device)
    return bounds[0] + (bounds[1] - bounds[0]) * draw


def _normal(like: Tensor, gray: Tensor, generator: torch.Generator) -> Tensor:
    draw = torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)
    return torch.where(gray.to(like.device).view(-1, 1, 1, 1), draw[:, :1], draw)


def _gaussian_blur(images: Tensor, sigmas: Tensor, largest: float) -> Tensor:
    count, channels, height, width = images.shape
    radius = min(math.ceil(3 * largest), height - 1, width - 1)
    offsets = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    weights = torch.exp(-0.5 * (offsets / sigmas.clamp_min(1e-3).unsqueeze(1)).square())
    weights = (weights / weights.sum(1, keepdim=True)).repeat_interleave(channels, dim=0)
    flat = functional.pad(images, (radius,) * 4, mode="reflect").view(1, count * channels, *_grown(images, radius))
    flat = functional.conv2d(flat, weights.view(-1, 1, 1, 2 * radius + 1), groups=count * channels)
    flat = functional.conv2d(flat, weights.view(-1, 1, 2 * radius + 1, 1), groups=count * channels)
    return flat.view(count, channels, height, width)


def _grown(images: Tensor, radius: int) -> tuple[int, int]:
    return images.shape[-2] + 2 * radius, images.shape[-1] + 2 * radius


def _to_8_bits(lr: Tensor) -> Tensor:
    clipped = lr.clamp(0, 1)
    # Rounding has no gradient; passing it straight through keeps the chain differentiable.
    return clipped + ((clipped * 255).round() / 255 - clipped).detach()


def _jpeg(lr: Tensor, quality: tuple[int, int], generator: torch.Generator) -> Tensor:
    qualities = torch.randint(quality[0], quality[1] + 1, (len(lr),), generator=generator, device=generator.device)
    pixels = (lr.detach() * 255).round().to(torch.uint8).cpu().permute(0, 2, 3, 1).numpy()
    coded = np.stack([_jpeg_round_trip(image, q) for image, q in zip(pixels, qualities.tolist(), strict=True)])
    return (torch.from_numpy(coded).permute(0, 3, 1, 2).float() / 255).to(lr.device)


def _jpeg_round_trip(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))
