"""Features of a set of images in a network: of LR tiles, and of the same tiles under a second degradation; spectra."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from trainables.degradation import Degradation
from trainables.domain_shift.cka import CrossProducts, total
from trainables.domain_shift.features import TILE, block_features, tile_statistics
from trainables.domain_shift.noise_level import noise_level
from trainables.domain_shift.shift import TileSet
from trainables.domain_shift.spectra import spectral_slope
from trainables.errors import ImageSetError
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
        slopes: Spectral slope of each LR image's luma, with its scene; images without any contrast are left out.
        noise: Noise level of each LR image's luma in 8-bit steps, with its scene.
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
) -> Observation:
    """Degrades the middle of each image and runs it through F_θ.

    Args:
        net: The source model, in evaluation mode.
        images: HR images; those that hold no LR tile are left out.
        degradation: The set's own.
        plain: The source's, to compare with; None for the source itself.
        on_image: Called after each image.

    Raises:
        ImageSetError: If no image is large enough.
    """
    scale = net.architecture.scale
    large = [image for image in images if min(image.pixels.shape[:2]) >= TILE * scale]
    if not large:
        raise ImageSetError(
            f"No image has the {TILE * scale}×{TILE * scale} pixels that an analysis at x{scale} needs."
        )
    rows, plain_rows, scenes = _Rows(), _Rows(), {name: i for i, name in enumerate(sorted({i.scene for i in large}))}
    products: list[dict[str, list[CrossProducts]]] = []
    slopes, noise = [], []
    for image in large:
        pair = _pair(image, degradation, scale)
        features = block_features(net, pair.lr[None])
        rows.add(features, scenes[image.scene])
        if plain is not None:
            unmoved = block_features(net, _pair(image, plain, scale).lr[None])
            plain_rows.add(unmoved, scenes[image.scene])
            products = products or [defaultdict(list) for _ in features]
            for block, ours, theirs in zip(products, unmoved, features, strict=True):
                block[image.scene].append(CrossProducts.of(ours, theirs))
        plane = luma(pair.lr).numpy()
        noise.append((noise_level(plane), image.scene))
        if np.ptp(plane) > 0:
            slopes.append((spectral_slope(plane), image.scene))
        on_image()
    by_scene = [[total(parts) for parts in block.values()] for block in products]
    return Observation(rows.tiles(), plain_rows.tiles() if plain else None, by_scene, slopes, noise)


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
