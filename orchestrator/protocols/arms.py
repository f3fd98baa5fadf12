"""Upscalers of benchmark images: bicubic interpolation and models, of 8-bit images and of shares of a value range."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.archive.scene.band_map import Group, name_groups
from orchestrator.archive.scene.model_facts import facts_of
from orchestrator.archive.scene.types import ModelFacts, SceneError
from orchestrator.foundation.model_store import FoundModel
from orchestrator.protocols.protocol import REFLECTANCE, LoadedPair
from trainables.errors import UsageError
from trainables.inference.prepare import Prepared
from trainables.inference.upscale import upscale, upscale_values
from trainables.network.network import interpolate

Image = NDArray[Any]
"""(H, W, C): uint8, or float32 shares of the value range."""

_STORED = ("uint16", "int16")
"""Data types in which reflectance is stored, in order of how usual they are."""


@dataclass(frozen=True, slots=True)
class Arm:
    """An upscaler.

    Attributes:
        name: Name in tables.
        run: From an LR image and the names of its bands to an HR image of the same type.
    """

    name: str
    run: Callable[[Image, tuple[str, ...]], Image]


def bicubic_arm(name: str, scale: int) -> Arm:
    """MATLAB's bicubic; 8-bit images stay 8-bit."""

    def run(lr: Image, _: tuple[str, ...]) -> Image:
        planes = torch.from_numpy(np.ascontiguousarray(lr.transpose(2, 0, 1))).float()[None]
        plain = lr.dtype == np.uint8
        hr = interpolate(planes / 255 if plain else planes, scale)[0].permute(1, 2, 0)
        return (hr.clamp(0, 1) * 255).round().byte().numpy() if plain else hr.numpy()

    return Arm(name, run)


def model_arm(name: str, found: FoundModel, net: Prepared, ensemble: bool) -> Arm:
    """A model: 8-bit images as `rayscale upscale` writes them, others by the bands and range of its card."""
    facts = facts_of(found, net.precision)
    low, high = _range_of(found)

    def run(lr: Image, bands: tuple[str, ...]) -> Image:
        if lr.dtype == np.uint8:
            return upscale(net, lr, ensemble=ensemble)
        height, width, count = lr.shape
        output = np.empty((height * net.scale, width * net.scale, count), np.float32)
        for group in map(list, _groups(bands, facts)):
            values = (np.ascontiguousarray(lr[..., group]) - low) / (high - low)
            output[..., group] = upscale_values(net, values, ensemble=ensemble) * (high - low) + low
        return output

    return Arm(name, run)


def _groups(bands: Sequence[str], model: ModelFacts) -> tuple[Group, ...]:
    try:
        return name_groups(bands, model)
    except SceneError as error:
        raise UsageError(error.reason) from None


def enlarged(arm: Arm, pair: LoadedPair, lr: NDArray[Any]) -> NDArray[Any]:
    """All images of a pair, (N, h, w, C) to (N, H, W, C)."""
    return np.stack([arm.run(image, pair.bands) for image in lr])


def _range_of(found: FoundModel) -> tuple[np.float32, np.float32]:
    """Shares that are 0 and 1 to a model, whose card may state its own range of stored reflectance."""
    stated = found.card.get("value_range") or {}
    low, high = next((stated[dtype] for dtype in _STORED if dtype in stated), (0.0, REFLECTANCE))
    return np.float32(low / REFLECTANCE), np.float32(high / REFLECTANCE)
