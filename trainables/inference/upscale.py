"""Upscaling images, 8-bit pixels or values of any depth, in tiles that leave no trace.

Shapes: N images, C bands, H×W LR pixels, r the scale factor.

A network of as many bands as the image has sees all of them together. Otherwise one of three bands sees each band as a
gray image, repeated and averaged again, and one of a single band sees each as it is; others refuse the image.

Tiles are those of :mod:`trainables.inference.tiling`: the result is that of the whole image, continued by reflection.
"""

from collections.abc import Callable, Sequence
from math import inf
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.errors import RunError, UsageError
from trainables.inference.downscaling import MARGINS, Downscaling
from trainables.inference.prepare import Prepared
from trainables.inference.radiometry import Limits, back_projected, upscale_clamped
from trainables.inference.tiling import TILE, Grid, cut
from trainables.network.bands import by_band
from trainables.network.network import interpolate

_BICUBIC_RADIUS = 3
Pixels = NDArray[np.uint8]
Values = NDArray[np.float32]
Upscaler = Callable[[Tensor], Tensor]
Kind = TypeVar("Kind", bound=np.generic)


@torch.inference_mode()
def upscale(net: Prepared, pixels: Pixels, tile: int = TILE, ensemble: bool = False) -> Pixels:
    """Upscales one image on the network's device.

    Args:
        net: The network, from :func:`trainables.inference.prepare.prepared`.
        pixels: uint8 (H, W, C).
        tile: Largest side of a tile in LR pixels; working memory grows with its square, not with the image.
        ensemble: True to average the eight flips and rotations of each tile.

    Returns:
        uint8 (r·H, r·W, C).

    Raises:
        UsageError: If the network takes another number of bands, neither 1 nor 3.
        RunError: If the network's output is not finite.
    """
    function = for_bands(net, pixels.shape[2], ensemble)

    def convert(window: Pixels) -> Pixels:
        lr = torch.from_numpy(np.ascontiguousarray(window)).to(net.device)[None]
        return _to_pixels(function(lr.float() / 255)[0])

    return _in_tiles(convert, pixels, net.scale, tile, net.radius)


@torch.inference_mode()
def upscale_alpha(alpha: Pixels, scale: int, tile: int = TILE) -> Pixels:
    """Upscales transparency, uint8 (H, W), bicubically to (r·H, r·W)."""

    def convert(window: Pixels) -> Pixels:
        lr = torch.from_numpy(np.ascontiguousarray(window))[None].float() / 255
        return _to_pixels(interpolate(lr, scale)[0])

    return _in_tiles(convert, alpha[..., None], scale, tile, _BICUBIC_RADIUS)[..., 0]


@torch.inference_mode()
def upscale_values(
    net: Prepared,
    values: Values,
    tile: int = TILE,
    ensemble: bool = False,
    downscaling: Downscaling | None = None,
    limits: Limits = (-inf, inf),
) -> Values:
    """Upscales values of any depth without rounding them, by the rules of :mod:`trainables.inference.radiometry`.

    The network sees nothing outside [0, 1], which it was never trained on: what lies beyond is interpolated and added.

    Args:
        net: The network, as for :func:`upscale`.
        values: float32 (H, W, C).
        tile: As for :func:`upscale`.
        ensemble: As for :func:`upscale`.
        downscaling: How the output is downscaled for back-projection; None for none.
        limits: Least and greatest value that the result may have, for back-projection.

    Returns:
        float32 (r·H, r·W, C), not clipped.

    Raises:
        UsageError: If the network takes another number of bands, neither 1 nor 3.
        RunError: If the network's output is not finite.
    """
    function = for_bands(net, values.shape[2], ensemble)

    def convert(window: Values) -> Values:
        lr = torch.from_numpy(np.ascontiguousarray(window)).to(net.device)[None]
        hr = upscale_clamped(function, lr, net.scale)[0]
        _check_finite(hr)
        if downscaling is not None:
            hr = back_projected(hr, lr[0], net.scale, downscaling, limits)
        bands: Values = hr.permute(1, 2, 0).cpu().numpy()
        return bands

    return _in_tiles(convert, values, net.scale, tile, net.radius, 0 if downscaling is None else MARGINS[downscaling])


def upscale_groups(
    net: Prepared,
    values: Values,
    groups: Sequence[Sequence[int]],
    tile: int = TILE,
    ensemble: bool = False,
    downscaling: Downscaling | None = None,
) -> Values:
    """Upscales groups of bands one after the other, as :func:`upscale_values` does.

    Args:
        net: The network.
        values: float32 (H, W, C).
        groups: Bands that the network sees together, counted from 0; each band in one group.
        tile: As for :func:`upscale_values`.
        ensemble: As for :func:`upscale_values`.
        downscaling: As for :func:`upscale_values`.

    Returns:
        float32 (r·H, r·W, C), not clipped.
    """
    height, width, count = values.shape
    larger = np.empty((height * net.scale, width * net.scale, count), np.float32)
    for group in map(list, groups):
        bands = np.ascontiguousarray(values[..., group])
        larger[..., group] = upscale_values(net, bands, tile, ensemble, downscaling)
    return larger


def for_bands(net: Prepared, bands: int, ensemble: bool = False) -> Upscaler:
    """A network as an upscaler of images of some number of bands.

    Args:
        net: The network.
        bands: Number of bands C.
        ensemble: True to average the eight flips and rotations.

    Returns:
        From (N, C, H, W) to (N, C, r·H, r·W).

    Raises:
        UsageError: If the network takes another number of bands, neither 1 nor 3.
    """
    function = self_ensemble(net) if ensemble else net.run
    if bands == net.channels:
        return function
    if net.channels not in (1, 3):
        raise UsageError(
            f"The model takes {net.channels} bands together, and the image has {bands}: take a model of 1 or 3 bands."
        )
    return by_band(function, net.channels)


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
    _check_finite(hr)
    pixels: Pixels = (hr.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return pixels


def _check_finite(hr: Tensor) -> None:
    """Refuses values that are not finite, which would become black without a message."""
    if not torch.isfinite(hr).all():
        raise RunError(
            "the model's output is not finite here: its weights are broken, or its precision is too narrow; "
            "try --precision float32, or another model"
        )


def _in_tiles(
    convert: Callable[[NDArray[Kind]], NDArray[Kind]],
    pixels: NDArray[Kind],
    scale: int,
    tile: int,
    halo: int,
    margin: int = 0,
) -> NDArray[Kind]:
    """Converts tiles with ``halo`` LR pixels around them, and ``margin`` more that ``convert`` itself takes off."""
    height, width, bands = pixels.shape
    planes = pixels.transpose(2, 0, 1)
    output = np.empty((height * scale, width * scale, bands), pixels.dtype)
    around = halo + margin
    grid = Grid.of(height, width, tile, around)
    shape = grid.rows + 2 * around, grid.columns + 2 * around
    for core in grid.tiles():
        window = convert(cut(planes, core.row - around, core.column - around, *shape, height))
        window = window[halo * scale :, halo * scale :]
        rows, columns = core.rows * scale, core.columns * scale
        output[core.row * scale :, core.column * scale :][:rows, :columns] = window[:rows, :columns]
    return output
