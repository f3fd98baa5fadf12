"""Steps shared by JPEG and H.264: YCbCr with halved chroma, and a DCT of square blocks."""

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from trainables.degradation.draws import rounded

MACROBLOCK = 16


def to_planes(rgb: Tensor, full_range: bool) -> tuple[Tensor, Tensor]:
    """Splits (N, 3, H, W) in [0, 1] into luma (N, 1, H', W') and chroma (N, 2, H'/2, W'/2), BT.601 in 8-bit steps.

    Edges are replicated up to multiples of 16. Chroma is the mean of 2×2 pixels.

    Args:
        rgb: Images.
        full_range: Luma from 0 to 255 and chroma ± 128 as in JFIF, else 16 to 235 and ± 112 as in video.
    """
    height, width = rgb.shape[-2:]
    rgb = functional.pad(rgb, (0, -width % MACROBLOCK, 0, -height % MACROBLOCK), mode="replicate")
    matrix, _, offset = _colours(full_range, rgb.device, rgb.dtype)
    planes = rounded((matrix @ rgb.flatten(2)).view(rgb.shape) + offset)
    chroma = functional.avg_pool2d(planes[:, 1:], 2)
    # libjpeg fills up columns before it halves chroma, but rows after.
    rows = (height + 1) // 2
    chroma = functional.pad(chroma[..., :rows, :], (0, 0, 0, chroma.shape[-2] - rows), mode="replicate")
    return planes[:, :1], rounded(chroma + _ties(chroma, -1 / 8))


def from_planes(luma: Tensor, chroma: Tensor, full_range: bool, size: tuple[int, int]) -> Tensor:
    """The inverse of :func:`to_planes`: (N, 3, H, W) in [0, 1], multiples of 1/255; chroma is upsampled linearly."""
    height, width = size
    seen = chroma[..., : (height + 1) // 2, : (width + 1) // 2]
    chroma = functional.interpolate(seen, scale_factor=2.0, mode="bilinear", align_corners=False)
    chroma = rounded(chroma + _ties(chroma, 1 / 32))
    planes = torch.cat((luma[..., :height, :width], chroma[..., :height, :width]), dim=1)
    _, inverse, offset = _colours(full_range, luma.device, luma.dtype)
    rgb = (inverse @ (planes - offset).flatten(2)).view(planes.shape)
    return rounded((rgb * 255).clamp(0, 255)) / 255


def to_blocks(planes: Tensor, side: int) -> Tensor:
    """(N, C, H, W) to (N, C, side², H/side, W/side): each block's pixels, row by row."""
    blocks = functional.pixel_unshuffle(planes, side)
    return blocks.view(len(planes), planes.shape[1], side * side, *blocks.shape[-2:])


def from_blocks(blocks: Tensor, side: int) -> Tensor:
    """The inverse of :func:`to_blocks`."""
    return functional.pixel_shuffle(blocks.flatten(1, 2), side)


def dct(blocks: Tensor, side: int) -> Tensor:
    """Orthonormal two-dimensional DCT of each block."""
    return _apply(dct_matrix(side, blocks.device, blocks.dtype), blocks)


def inverse_dct(blocks: Tensor, side: int) -> Tensor:
    """The inverse of :func:`dct`."""
    return _apply(dct_matrix(side, blocks.device, blocks.dtype).T, blocks)


def _ties(planes: Tensor, amount: float) -> Tensor:
    """Makes rounding halves alternate between columns, as libjpeg's does, so that chroma gets no bias."""
    return _alternating(planes.shape[-1], amount, planes.device, planes.dtype)


@lru_cache(maxsize=32)
def _alternating(width: int, amount: float, device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor((amount, -amount), dtype=dtype).repeat((width + 1) // 2)[:width].to(device)


def _apply(matrix: Tensor, blocks: Tensor) -> Tensor:
    result: Tensor = matrix @ blocks.flatten(3)
    return result.view(blocks.shape)


@lru_cache(maxsize=16)
def dct_matrix(side: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The (side², side²) matrix of the orthonormal DCT of a block's pixels."""
    with torch.inference_mode(False):
        places = torch.arange(side, dtype=torch.float64)
        basis = torch.cos(math.pi / side * places.unsqueeze(1) * (places + 0.5)) * math.sqrt(2 / side)
        basis[0] /= math.sqrt(2)
        return torch.kron(basis, basis).to(device=device, dtype=dtype)


@lru_cache(maxsize=16)
def _colours(full_range: bool, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Matrix from RGB in [0, 1] to YCbCr, its inverse, and the offset (3, 1, 1)."""
    red, blue = 0.299, 0.114
    green = 1 - red - blue
    luma = torch.tensor([red, green, blue], dtype=torch.float64)
    to_blue = (torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64) - luma) / (2 * (1 - blue))
    to_red = (torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64) - luma) / (2 * (1 - red))
    high, swing, black = (255.0, 255.0, 0.0) if full_range else (219.0, 224.0, 16.0)
    with torch.inference_mode(False):
        matrix = torch.stack((high * luma, swing * to_blue, swing * to_red))
        offset = torch.tensor([black, 128.0, 128.0], dtype=torch.float64).view(3, 1, 1)
        return (
            matrix.to(device=device, dtype=dtype),
            torch.linalg.inv(matrix).to(device=device, dtype=dtype),
            offset.to(device=device, dtype=dtype),
        )
