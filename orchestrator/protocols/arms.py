"""Upscalers of benchmark images: bicubic interpolation and models, of 8-bit images and of shares of a value range."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.protocols.protocol import LoadedPair
from trainables.inference.prepare import Prepared
from trainables.inference.upscale import upscale, upscale_values
from trainables.network.network import interpolate

Image = NDArray[Any]
"""(H, W, C): uint8, or float32 shares of the value range."""


@dataclass(frozen=True, slots=True)
class Arm:
    """An upscaler.

    Attributes:
        name: Name in tables.
        run: From an LR image and the places of its red, green and blue to an HR image of the same type.
    """

    name: str
    run: Callable[[Image, tuple[int, ...]], Image]


def bicubic_arm(name: str, scale: int) -> Arm:
    """MATLAB's bicubic; 8-bit images stay 8-bit."""

    def run(lr: Image, _: tuple[int, ...]) -> Image:
        planes = torch.from_numpy(np.ascontiguousarray(lr.transpose(2, 0, 1))).float()[None]
        plain = lr.dtype == np.uint8
        hr = interpolate(planes / 255 if plain else planes, scale)[0].permute(1, 2, 0)
        return (hr.clamp(0, 1) * 255).round().byte().numpy() if plain else hr.numpy()

    return Arm(name, run)


def model_arm(name: str, net: Prepared, ensemble: bool) -> Arm:
    """A model; 8-bit images as `rayscale upscale` writes them, others with red, green and blue together."""

    def run(lr: Image, colours: tuple[int, ...]) -> Image:
        if lr.dtype == np.uint8:
            return upscale(net, lr, ensemble=ensemble)
        height, width, bands = lr.shape
        output = np.empty((height * net.scale, width * net.scale, bands), np.float32)
        alone = [(band,) for band in range(bands) if band not in colours]
        for group in map(list, [colours, *alone] if colours else alone):
            output[..., group] = upscale_values(net, np.ascontiguousarray(lr[..., group]), ensemble=ensemble)
        return output

    return Arm(name, run)


def enlarged(arm: Arm, pair: LoadedPair, lr: NDArray[Any]) -> NDArray[Any]:
    """All images of a pair, (N, h, w, C) to (N, H, W, C)."""
    return np.stack([arm.run(image, pair.colours) for image in lr])
