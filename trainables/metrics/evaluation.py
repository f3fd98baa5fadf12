"""Scoring a network on a fixed set of degraded images."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainables.degradation import Degradation
from trainables.images.patch_pool import Pixels
from trainables.metrics.psnr_ssim import comparable, psnr, ssim
from trainables.network.network import interpolate

Upscaler = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class NamedImage:
    """One HR image of a split: its name, its scene and its pixels (H, W, C), uint8."""

    name: str
    scene: str
    pixels: Pixels


@dataclass(frozen=True, slots=True)
class Pair:
    """An HR image and its fixed LR counterpart, both (3, ·, ·) float in [0, 1]."""

    name: str
    scene: str
    gray: bool
    lr: Tensor
    hr: Tensor


@dataclass(frozen=True, slots=True)
class Score:
    """One image's PSNR in dB and SSIM."""

    name: str
    scene: str
    psnr: float
    ssim: float


def make_pairs(
    images: Iterable[NamedImage], degradation: Degradation, scale: int, crop: int | None = None
) -> list[Pair]:
    """Degrades each image once, with randomness that depends on its pixels alone.

    Args:
        images: HR images; each is cut to a multiple of ``scale``.
        degradation: The domain's degradation.
        scale: Scale factor r.
        crop: Largest height and width in HR pixels that is used, from the middle; None for the whole image.
    """
    return [_make_pair(image, degradation, scale, crop) for image in images]


def score(upscale: Upscaler, pairs: Sequence[Pair], scale: int) -> list[Score]:
    """Upscales and compares every pair, after rounding the output to 8 bits as a file would."""
    return [compare(run(upscale, pair), pair, scale) for pair in pairs]


def compare(output: Tensor, pair: Pair, scale: int) -> Score:
    """Scores what :func:`run` gave for a pair."""
    planes = _planes(output, pair, scale)
    return Score(pair.name, pair.scene, psnr(*planes), ssim(*planes))


def mean_psnr(upscale: Upscaler, pairs: Sequence[Pair], scale: int) -> float:
    """Mean PSNR in dB over pairs; SSIM is left out, which halves the time."""
    return float(np.mean([psnr(*_planes(run(upscale, pair), pair, scale)) for pair in pairs]))


def bicubic(scale: int) -> Upscaler:
    """The interpolation baseline: MATLAB's bicubic kernel."""
    return lambda lr: interpolate(lr, scale)


def run(upscale: Upscaler, pair: Pair) -> Tensor:
    """Upscales one pair's LR image: (3, r·h, r·w), rounded to 8 bits, on the CPU."""
    with torch.inference_mode():
        output = upscale(pair.lr[None])[0]
    return (output.clamp(0, 1) * 255).round().cpu() / 255


def _planes(output: Tensor, pair: Pair, scale: int) -> tuple[Tensor, Tensor]:
    return comparable(output, pair.gray, scale), comparable(pair.hr, pair.gray, scale)


def _make_pair(image: NamedImage, degradation: Degradation, scale: int, crop: int | None) -> Pair:
    pixels = _centre(image.pixels, scale, crop)
    gray = pixels.shape[2] == 1
    hr = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float().expand(3, -1, -1) / 255
    seed = int.from_bytes(hashlib.sha256(pixels.tobytes()).digest()[:7], "big")
    generator = torch.Generator().manual_seed(seed)
    lr = degradation(hr[None], scale, torch.tensor([gray]), generator)[0]
    return Pair(image.name, image.scene, gray, lr, hr)


def _centre(pixels: Pixels, scale: int, crop: int | None) -> Pixels:
    height, width = (min(side, crop or side) // scale * scale for side in pixels.shape[:2])
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]
