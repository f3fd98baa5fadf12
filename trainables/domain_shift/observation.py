"""Features of a set of images in a network: of LR tiles, and of the same tiles under a second degradation; spectra."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.degradation import Degradation
from trainables.domain_shift.cka import CrossProducts, total
from trainables.domain_shift.features import TILE, block_features, tile_statistics
from trainables.domain_shift.noise_level import noise_level
from trainables.domain_shift.shift import TileSet
from trainables.domain_shift.spectra import spectral_slope
from trainables.errors import ImageSetError
from trainables.images.image_pair import PreparedPair
from trainables.images.raster import RGB, PreparedImage
from trainables.images.valid_places import fullest_window
from trainables.metrics.evaluation import NamedImage, Pair, make_pairs
from trainables.metrics.psnr_ssim import luma
from trainables.network.network import SuperResolutionNet

_CROP_TILES = 3
"""Side of the central crop of an image that is analysed, in tiles."""


@dataclass(frozen=True, slots=True)
class Observation:
    """Features, spectra and noise levels of one set of images.

    Attributes:
        tiles: Feature statistics of its LR tiles.
        plain_tiles: The same of the same images under the source's degradation; None where none was asked for.
        products: For each block, the cross-products of the two representations, one entry a scene; or empty.
        slopes: Spectral slope of each LR image's luma, with its scene; of deep images the mean over the bands' slopes.
            Bands and images without any contrast are left out.
        noise: Noise level of each LR image's luma in 8-bit steps, with its scene; of deep images the mean over the
            bands' levels, each band being a gray image.
    """

    tiles: TileSet
    plain_tiles: TileSet | None
    products: list[list[CrossProducts]]
    slopes: list[tuple[float, str]]
    noise: list[tuple[float, str]]


def observe(
    net: SuperResolutionNet,
    images: Sequence[NamedImage],
    degradation: Degradation,
    plain: Degradation | None = None,
    on_image: Callable[[], None] = lambda: None,
    bands: Sequence[str] | None = None,
) -> Observation:
    """Degrades the middle of each image and runs it through F_θ.

    Of an image with invalid pixels, the largest part of up to three tiles to a side that has none is used.

    Args:
        net: The source model, in evaluation mode.
        images: HR images; those that hold no LR tile are left out.
        degradation: The set's own.
        plain: The source's, to compare with; None for the source itself.
        on_image: Called after each image.
        bands: Names of deep images' bands, of which an RGB network is shown red, green and blue where there are all
            three, else the mean as gray; None if the network takes the images as they are.

    Raises:
        ImageSetError: If no image is large enough.
    """
    scale = net.architecture.scale
    large = [part for image in images if (part := _analysed(image, scale)) is not None]
    if not large:
        raise ImageSetError(
            f"No image has the {TILE * scale}×{TILE * scale} pixels that an analysis at x{scale} needs, all with a "
            "value."
        )
    rows, plain_rows, scenes = _Rows(), _Rows(), {name: i for i, name in enumerate(sorted({i.scene for i in large}))}
    products: list[dict[str, list[CrossProducts]]] = []
    slopes, noise = [], []
    for image in large:
        pair = _pair(image, degradation, scale)
        features = block_features(net, _shown(pair.lr, bands)[None])
        rows.add(features, scenes[image.scene])
        if plain is not None:
            unmoved = block_features(net, _shown(_pair(replace(image, lr=None), plain, scale).lr, bands)[None])
            plain_rows.add(unmoved, scenes[image.scene])
            products = products or [defaultdict(list) for _ in features]
            for block, ours, theirs in zip(products, unmoved, features, strict=True):
                block[image.scene].append(CrossProducts.of(ours, theirs))
        planes = _planes(pair)
        noise.append((float(np.mean([noise_level(plane) for plane in planes])), image.scene))
        if busy := [spectral_slope(plane) for plane in planes if np.ptp(plane) > 0]:
            slopes.append((float(np.mean(busy)), image.scene))
        on_image()
    by_scene = [[total(parts) for parts in block.values()] for block in products]
    return Observation(rows.tiles(), plain_rows.tiles() if plain else None, by_scene, slopes, noise)


def _analysed(image: NamedImage, scale: int) -> NamedImage | None:
    """The part of an image that is analysed, all of it if none of its pixels is invalid; None if no tile fits."""
    prepared = image.prepared
    # Pairs are cut between LR pixels, other images anywhere.
    grid, unit = (prepared.lr, scale) if isinstance(prepared, PreparedPair) else (prepared, 1)
    valid = prepared.valid(scale) if isinstance(prepared, PreparedPair) else image.valid
    height, width, tile = *grid.pixels.shape[:2], TILE * scale // unit
    if min(height, width) < tile:
        return None
    if valid is None or valid.all():
        return _cut(image, 0, 0, height, width, unit)
    for tiles in range(_CROP_TILES, 0, -1):
        rows, columns = (min(side, tiles * tile) for side in (height, width))
        top, left = fullest_window(valid, (height, width), rows, columns)
        if valid[top : top + rows, left : left + columns].all():
            return _cut(image, top, left, rows, columns, unit)
    return None


def _cut(image: NamedImage, top: int, left: int, rows: int, columns: int, unit: int) -> NamedImage:
    """A part of an image without invalid pixels, given in LR pixels if it is a pair: ``unit`` is the scale factor."""
    pixels = image.pixels[top * unit : (top + rows) * unit, left * unit : (left + columns) * unit]
    lr = image.lr and PreparedImage(image.lr.pixels[top : top + rows, left : left + columns])
    return replace(image, pixels=pixels, valid=None, lr=lr)


def _shown(lr: Tensor, bands: Sequence[str] | None) -> Tensor:
    """The bands of an LR image (C, H, W) that the network sees."""
    if bands is None:
        return lr
    names = [name.lower() for name in bands]
    if set(RGB) <= set(names):
        return lr[[names.index(colour) for colour in RGB]]
    return lr.mean(0, keepdim=True).expand(len(RGB), -1, -1)


def _planes(pair: Pair) -> list[NDArray[np.float64]]:
    """Planes of which spectra and noise are measured: luma, or each band of a deep image as if it were gray."""
    images = [band.expand(3, -1, -1) for band in pair.lr] if pair.deep else [pair.lr]
    return [luma(image).numpy() for image in images]


def _pair(image: NamedImage, degradation: Degradation, scale: int) -> Pair:
    return make_pairs([image], degradation, scale, _CROP_TILES * TILE * scale)[0]


class _Rows:
    def __init__(self) -> None:
        self._blocks: list[list[torch.Tensor]] = []
        self._scenes: list[int] = []

    def add(self, features: list[torch.Tensor], scene: int) -> None:
        statistics = [tile_statistics(stage) for stage in features]
        self._blocks = self._blocks or [[] for _ in statistics]
        for block, rows in zip(self._blocks, statistics, strict=True):
            block.append(rows)
        self._scenes += [scene] * len(statistics[0])

    def tiles(self) -> TileSet:
        return TileSet(tuple(torch.cat(block).numpy() for block in self._blocks), np.array(self._scenes))
