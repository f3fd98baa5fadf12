"""Upscaling stored images: 8-bit pixels in, 8-bit pixels out, in tiles that leave no trace.

Shapes: H×W LR pixels, C bands (1 or 3), r the scale factor.

A tile is computed with a halo of the network's receptive radius, so that every output pixel sees all that it would see
in the whole image. Only the last bits of a sum may differ with a convolution's size: the result is that of the whole
image to within one grey level.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.inference import Prepared
from trainables.network import interpolate

TILE = 256
"""Default largest side of a tile in LR pixels, without its halo."""

_BICUBIC_RADIUS = 3
Pixels = NDArray[np.uint8]
Upscaler = Callable[[Tensor], Tensor]


@torch.inference_mode()
def upscale(net: Prepared, pixels: Pixels, tile: int = TILE, ensemble: bool = False) -> Pixels:
    """Upscales one image on the network's device.

    Args:
        net: The network, from :func:`trainables.inference.prepared`.
        pixels: uint8 (H, W, C). Gray is repeated to the three bands that the network takes and averaged again.
        tile: Largest side of a tile in LR pixels; working memory grows with its square, not with the image.
        ensemble: Whether to average the eight flips and rotations of each tile.

    Returns:
        uint8 (r·H, r·W, C).
    """
    function = self_ensemble(net) if ensemble else net
    gray = pixels.shape[2] == 1

    def convert(window: Pixels) -> Pixels:
        lr = torch.from_numpy(np.ascontiguousarray(window)).to(net.device).permute(2, 0, 1)[None]
        lr = (lr.float() / 255).expand(-1, 3, -1, -1)
        hr = function(lr)[0]
        return _to_pixels(hr.mean(0, keepdim=True) if gray else hr)

    return _in_tiles(convert, pixels, net.scale, tile, net.radius)


@torch.inference_mode()
def upscale_alpha(alpha: Pixels, scale: int, tile: int = TILE) -> Pixels:
    """Upscales transparency, uint8 (H, W), bicubically to (r·H, r·W)."""

    def convert(window: Pixels) -> Pixels:
        lr = torch.from_numpy(np.ascontiguousarray(window)).permute(2, 0, 1)[None].float() / 255
        return _to_pixels(interpolate(lr, scale)[0])

    return _in_tiles(convert, alpha[..., None], scale, tile, _BICUBIC_RADIUS)[..., 0]


def self_ensemble(upscale: Upscaler) -> Upscaler:
    """The mean over the eight flips and rotations of the input, each turned back (Timofte et al. 2016)."""

    def mean(lr: Tensor) -> Tensor:
        total: Tensor | float = 0.0
        for turns in range(4):
            for mirrored in (False, True):
                turned = torch.rot90(lr.flip(-1) if mirrored else lr, turns, (-2, -1))
                back = torch.rot90(upscale(turned), -turns, (-2, -1))
                total = total + (back.flip(-1) if mirrored else back)
        assert isinstance(total, Tensor)
        return total / 8

    return mean


def _to_pixels(hr: Tensor) -> Pixels:
    pixels: Pixels = (hr.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return pixels


def _in_tiles(convert: Callable[[Pixels], Pixels], pixels: Pixels, scale: int, tile: int, halo: int) -> Pixels:
    height, width, bands = pixels.shape
    output = np.empty((height * scale, width * scale, bands), np.uint8)
    for top, bottom, first_row, last_row in _spans(height, tile, halo):
        for left, right, first_column, last_column in _spans(width, tile, halo):
            window = convert(pixels[first_row:last_row, first_column:last_column])
            rows = slice((top - first_row) * scale, (bottom - first_row) * scale)
            columns = slice((left - first_column) * scale, (right - first_column) * scale)
            output[top * scale : bottom * scale, left * scale : right * scale] = window[rows, columns]
    return output


def _spans(length: int, tile: int, halo: int) -> Iterator[tuple[int, int, int, int]]:
    """Each tile's own span and the span that is computed for it; all of the latter have one length.

    Tiles are as even as can be: a narrow last one would cost as much as a full one.
    """
    step = math.ceil(length / math.ceil(length / tile))
    side = min(length, step + 2 * halo)
    for start in range(0, length, step):
        first = min(max(start - halo, 0), length - side)
        yield start, min(start + step, length), first, first + side
