"""Scenes of blue, green, red and near-infrared surface reflectance, drawn, with clouds and the edge of a swath.

The visible bands are those of the satellite painter. Its greens are taken for leaves, which absorb red and reflect the
near infrared; soil reflects it somewhat more than red, and water hardly at all: the shapes of the spectra in Jensen,
Remote Sensing of the Environment (2007), chapter 11. A site's fields, roads and houses stay through the seasons; its
leaves do not.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from trainables.images.raster import Raster
from trainables.samples import satellite
from trainables.samples.drawing import Array, Shot, noise

BANDS = ("blue", "green", "red", "nir")
Season = Literal["winter", "spring", "summer", "autumn"]
SEASONS: tuple[Season, ...] = get_args(Season)

QUANTIFICATION = 10_000
"""Stored value of a reflectance of 1, as in Sentinel-2's products."""

_BRIGHTEST = 0.35
"""Reflectance of what the painter draws white."""

_LEAVES = {"winter": 0.15, "spring": 0.7, "summer": 1.0, "autumn": 0.45}
_OVERSAMPLING = 2


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A drawn scene.

    Attributes:
        raster: uint16 (H, W, 4), reflectance times :data:`QUANTIFICATION`, at least 1; 0 where it has no value.
        clouds: bool (H, W), True under cloud.
    """

    raster: Raster
    clouds: NDArray[np.bool_]


def scene(
    seed: int, season: Season = "summer", size: tuple[int, int] = (512, 512), clouds: float = 0.0, edge: bool = False
) -> Scene:
    """Draws one scene.

    Args:
        seed: Non-negative; the site.
        season: Season.
        size: Height and width in pixels.
        clouds: Share of it under clouds, 0 to below 1.
        edge: True if the swath ends within it, along a slanting line.
    """
    streams = [np.random.default_rng([seed, stream]) for stream in range(3)]
    weather = np.random.default_rng([seed, 3, SEASONS.index(season)])
    (height, width), n = size, _OVERSAMPLING
    picture = np.clip(satellite.paint(Shot(seed, streams[0], streams[1], n * height, n * width)), 0, 1)
    values = _reflectance(picture, _LEAVES[season], streams[2])
    values = values.reshape(height, n, width, n, len(BANDS)).mean(axis=(1, 3))
    cover = np.zeros(size, bool)
    if clouds > 0:
        thickness = noise(weather, height, width, 1.6)
        thickness = (thickness - np.quantile(thickness, 1 - clouds)) / 0.6
        cover = thickness > 0
        opacity = np.clip(thickness, 0, 1)[..., None]
        values = values * (1 - opacity) + (0.7 + 0.05 * noise(weather, height, width, 1.2)[..., None]) * opacity
    stored = np.clip(np.rint(values * QUANTIFICATION), 1, 65535).astype(np.uint16)
    valid = None
    if edge:
        row, column = np.mgrid[:height, :width]
        valid = column + 0.15 * row < width * weather.uniform(0.7, 0.95)
        stored[~valid] = 0
    return Scene(Raster(stored, BANDS, valid), cover)


def _reflectance(picture: Array, leaves: float, rng: np.random.Generator) -> Array:
    """(H, W, 4) of a painted picture (H, W, 3)."""
    red, green, blue = picture[..., 0], picture[..., 1], picture[..., 2]
    leaf = np.clip((green - 0.5 * (red + blue)) / (green + 0.02) * 2.2, 0, 1)
    water = np.clip((blue - red) * 12, 0, 1) * (leaf < 0.5)
    now = leaf * leaves
    canopy = 1 + 0.12 * noise(rng, red.shape[0], red.shape[1], 1.1, 6)
    bare = 1.25 * red + 0.02
    # Leaves gone, their soil shows: redder and brighter than they were.
    visible = [band + (leaf - now) * shift for band, shift in ((blue, 0.03), (green, 0.04), (red, 0.12))]
    infrared = (1 - now) * bare * _BRIGHTEST + now * 0.45 * canopy
    infrared = infrared * (1 - water) + 0.015 * water
    bands = [band * _BRIGHTEST for band in visible] + [infrared]
    return np.asarray(np.stack(bands, axis=-1), dtype=np.float32)
