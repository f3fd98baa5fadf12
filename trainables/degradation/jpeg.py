"""Baseline JPEG as libjpeg codes and decodes it, on the images' device, without the lossless entropy coding.

Full-range BT.601 YCbCr (JFIF), 4:2:0 chroma, 8×8 DCT, the tables of ITU-T T.81 annex K scaled by quality as libjpeg
does. Rounding passes gradients straight through.
"""

from functools import lru_cache

import torch
from torch import Tensor

from trainables.degradation.blocks import dct, from_blocks, from_planes, inverse_dct, to_blocks, to_planes
from trainables.degradation.draws import rounded

SIDE = 8

# fmt: off
_LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61,      12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56,      14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77,    24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101,  72, 92, 95, 98, 112, 100, 103, 99,
)
_CHROMA = (
    17, 18, 24, 47, 99, 99, 99, 99,      18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99,      47, 66, 99, 99, 99, 99, 99, 99,
    *([99] * 32),
)
# fmt: on


def jpeg(images: Tensor, qualities: Tensor) -> Tensor:
    """One round trip through a JPEG file.

    Args:
        images: (N, 3, H, W) in [0, 1], multiples of 1/255.
        qualities: (N,) integers from 1 to 100, as Pillow's and libjpeg's ``quality``.

    Returns:
        The decoded images, of the same shape and steps.
    """
    luma, chroma = to_planes(images, full_range=True)
    tables = quantization_tables(qualities, images.dtype)
    luma, chroma = _coded(luma, tables[:, :1]), _coded(chroma, tables[:, 1:])
    height, width = images.shape[-2:]
    return from_planes(luma, chroma, full_range=True, size=(height, width))


def quantization_tables(qualities: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Luma's and chroma's table for each quality, (N, 2, 64), row by row."""
    qualities = qualities.view(-1, 1, 1)
    percent = torch.where(qualities < 50, 5000 // qualities, 200 - 2 * qualities)
    scaled = (_base_tables(qualities.device) * percent + 50).div(100, rounding_mode="floor")
    return scaled.clamp(1, 255).to(dtype)


def _coded(planes: Tensor, tables: Tensor) -> Tensor:
    steps = tables[..., None, None]
    levels = rounded(dct(to_blocks(planes - 128, SIDE), SIDE) / steps)
    return rounded(from_blocks(inverse_dct(levels * steps, SIDE), SIDE) + 128).clamp(0, 255)


@lru_cache(maxsize=8)
def _base_tables(device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor([_LUMA, _CHROMA], device=device)
