"""One range of values for an archive, measured on a sample of its scenes."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from orchestrator.archive.scene.band_roles import SampledScene, class_bands
from orchestrator.archive.scene.reader import Scene, gdal
from orchestrator.archive.scene.samples import known_values
from orchestrator.archive.scene.types import SceneError

PERCENTILES = (0.1, 99.9)
"""Percentiles of the sampled values that mean 0 and 1."""


class MeasuredRange(TypedDict):
    """Range of a data type: its ends, and the number of scenes and values that it was measured on."""

    low: float
    high: float
    scenes: int
    values: int


def sample_values(path: Path | str) -> tuple[str, NDArray[np.float32]]:
    """Data type of a scene, and values of its bands that hold no classes, from windows all over it.

    Raises:
        SceneError: If it cannot be opened.
    """
    with gdal(), Scene(path) as scene:
        if scene.palette:
            return scene.facts.dtype, np.empty(0, np.float32)
        sampled = SampledScene(scene)
        classes = class_bands(scene, sampled)
        bands = [band for band in range(len(scene.image)) if band not in classes]
        return scene.facts.dtype, known_values(sampled.windows, bands)


def measure_ranges(sampled: Iterable[tuple[str, NDArray[np.float32]]]) -> dict[str, MeasuredRange]:
    """Ranges by data type; 8-bit scenes keep 0 to 255.

    Args:
        sampled: Data type and values of each scene, from :func:`sample_values`.

    Raises:
        SceneError: ``normalisation``, if the values of a data type are nearly all the same.
    """
    values = defaultdict(list)
    for dtype, found in sampled:
        if dtype != "uint8" and len(found):
            values[dtype].append(found)
    return {dtype: _range(dtype, parts) for dtype, parts in sorted(values.items())}


def _range(dtype: str, parts: list[NDArray[np.float32]]) -> MeasuredRange:
    pooled = np.concatenate(parts)
    low, high = (float(f"{value:.6g}") for value in np.percentile(pooled, PERCENTILES))
    if not low < high:
        raise SceneError(
            "normalisation",
            f"The sampled {dtype} values are nearly all {low:g}, so that no range can be measured; state one, such as "
            f"--normalisation {dtype}=0,10000.",
        )
    return MeasuredRange(low=low, high=high, scenes=len(parts), values=len(pooled))
