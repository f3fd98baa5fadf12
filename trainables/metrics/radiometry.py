"""Radiometry of an upscaled scene beside its source, measured without HR: bias, overshoot, range and indices.

Shapes: C bands, H×W LR pixels of a window, r the scale factor. The mean of the r×r output pixels of an LR pixel is its
block mean.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from trainables.metrics.consistency_record import MeterState, RadiometryRecord

BIAS_LIMIT = 0.5
"""Mean difference of block means and source above which whole-number values are flagged, in stored units."""
BIAS_LIMIT_OF_DECIMALS = 5e-5
"""The same for decimals, as a share of the range: 0.5 of 10,000."""
OVERSHOOT_LIMIT = 1.0
"""Distance beyond the local 3×3 range, as a share of that range, above which a scene is flagged."""
LEAST_RANGE = 0.5
"""Local ranges below this share of the scene's range count as this: what is smaller than an LR pixel may well be that
much brighter than its neighbourhood in LR."""
OUTSIDE_LIMIT = 0.02
"""Share of source values beyond the range above which a scene is flagged."""
INDEX_LIMIT = 0.005
"""Shift of a normalised difference index above which a scene is flagged."""
LEAST_SUM = 0.02
"""Sum of the two bands, on the scale of the range, from which on an index is computed: below, it is noise."""

INDICES = {"ndvi": ("nir", "red"), "ndwi": ("green", "nir")}
"""Bands (a, b) of each index (a - b) / (a + b): vegetation (Rouse et al. 1974) and water (McFeeters 1996)."""


@dataclass(frozen=True, slots=True)
class Radiometry:
    """Radiometry of one scene.

    Attributes:
        bias: Per band, the mean of block mean - LR in stored units; empty without pixels.
        bias_limits: Per band, the largest absolute bias that is not flagged.
        block_error: Largest |block mean - LR| in stored units.
        overshoot: Largest distance of an output value from the range of the 3×3 LR pixels around it, as a share of that
            range, which counts as :data:`LEAST_RANGE` of the scene's range at least.
        outside: Share of LR values that lie beyond the range.
        shifts: Mean of the output's index less the source's, for each index whose bands are known.
    """

    bias: tuple[float, ...]
    bias_limits: tuple[float, ...]
    block_error: float
    overshoot: float
    outside: float
    shifts: Mapping[str, float]

    @property
    def flags(self) -> tuple[str, ...]:
        """Reasons to flag the scene: ``bias``, ``overshoot``, ``out-of-range``, ``ndvi``, ``ndwi``."""
        beyond = {
            "bias": any(abs(bias) > limit for bias, limit in zip(self.bias, self.bias_limits, strict=True)),
            "overshoot": self.overshoot > OVERSHOOT_LIMIT,
            "out-of-range": self.outside > OUTSIDE_LIMIT,
            **{name: abs(self.shifts.get(name, 0.0)) > INDEX_LIMIT for name in INDICES},
        }
        return tuple(name for name, is_beyond in beyond.items() if is_beyond)

    def to_dict(self) -> RadiometryRecord:
        """Plain values for a ledger."""
        ndvi, ndwi = (self.shifts.get(name) for name in INDICES)
        return {
            "bias": [float(f"{bias:.4g}") for bias in self.bias],
            "block_error": float(f"{self.block_error:.4g}"),
            "overshoot": round(self.overshoot, 4),
            "outside_percent": round(100 * self.outside, 4),
            "ndvi_shift": None if ndvi is None else round(ndvi, 6),
            "ndwi_shift": None if ndwi is None else round(ndwi, 6),
        }


@dataclass(frozen=True, slots=True)
class Blocks:
    """Output pixels of each LR pixel, float32 (C, H, W) each: their mean, least and greatest value."""

    means: Tensor
    least: Tensor
    most: Tensor


@dataclass(slots=True)
class RadiometryMeter:
    """Collects a scene's windows in any order and of any size; several workers' meters can be merged.

    Attributes:
        bands: Number of bands C.
    """

    bands: int
    _pixels: int = 0
    _sums: NDArray[np.float64] = field(init=False)
    _limits: NDArray[np.float64] = field(init=False)
    _block_error: float = 0.0
    _overshoot: float = 0.0
    _outside: int = 0
    _samples: int = 0
    _shifts: dict[str, float] = field(default_factory=dict)
    _index_pixels: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._sums, self._limits = np.zeros(self.bands), np.zeros(self.bands)

    def add(
        self,
        around: Tensor,
        around_valid: Tensor | None,
        blocks: Blocks,
        good: Tensor,
        ends: tuple[Tensor, Tensor],
        whole_numbers: bool,
        named: Mapping[str, int],
        seen: Sequence[int],
    ) -> None:
        """Compares one window.

        Args:
            around: float32 (C, H + 2, W + 2) source values with one more pixel to each side.
            around_valid: bool of the same shape, True where there is a value; None where there is one everywhere.
            blocks: The output of the window.
            good: bool (H, W), True where source and output are compared.
            ends: (C, 1, 1) each, the values that mean 0 and 1.
            whole_numbers: True if values are whole numbers.
            named: Positions of bands by name, see :data:`INDICES`.
            seen: Positions of the bands that have a range, since a network saw them.
        """
        lr, (low, high) = around[:, 1:-1, 1:-1], ends
        span = high - low
        self._pixels += int(good.sum())
        errors = torch.where(good, blocks.means - lr, 0)
        self._sums += errors.sum((1, 2), dtype=torch.float64).numpy()
        self._limits[:] = BIAS_LIMIT if whole_numbers else BIAS_LIMIT_OF_DECIMALS * span.flatten().numpy()
        self._block_error = max(self._block_error, _greatest(errors.abs()))
        self._outside += int((good & ((lr < low) | (lr > high)))[list(seen)].sum())
        self._samples += len(seen) * int(good.sum())
        least, most = _local_range(around, around_valid)
        beyond = torch.maximum(blocks.most - most, least - blocks.least)
        beyond = beyond / torch.maximum(most - least, LEAST_RANGE * span)
        self._overshoot = max(self._overshoot, _greatest(torch.where(good, beyond, 0)))
        for index, names in INDICES.items():
            if set(names) <= set(named):
                places = [named[name] for name in names]
                before, after = ((values - low) / span for values in (lr, blocks.means))
                self._add_index(index, before[places], after[places], good)

    def _add_index(self, index: str, before: Tensor, after: Tensor, good: Tensor) -> None:
        defined = good & (before.sum(0) >= LEAST_SUM) & (before >= 0).all(0) & (after.sum(0) > 0)
        shifts = torch.where(defined, _index(after) - _index(before), 0)
        self._shifts[index] = self._shifts.get(index, 0.0) + float(shifts.sum(dtype=torch.float64))
        self._index_pixels[index] = self._index_pixels.get(index, 0) + int(defined.sum())

    @classmethod
    def of(cls, state: MeterState) -> "RadiometryMeter":
        """The meter whose fields, by name, are the state."""
        meter = cls(state["bands"])
        for name, value in state.items():
            setattr(meter, name, value)
        return meter

    def merge(self, other: "RadiometryMeter") -> None:
        """Adds what another meter has seen of the same scene."""
        self._pixels += other._pixels
        self._sums = self._sums + other._sums
        self._limits = np.maximum(self._limits, other._limits)
        self._block_error = max(self._block_error, other._block_error)
        self._overshoot = max(self._overshoot, other._overshoot)
        self._outside += other._outside
        self._samples += other._samples
        for index, total in other._shifts.items():
            self._shifts[index] = self._shifts.get(index, 0.0) + total
            self._index_pixels[index] = self._index_pixels.get(index, 0) + other._index_pixels[index]

    def result(self) -> Radiometry:
        """Radiometry over all windows so far."""
        pixels = max(self._pixels, 1)
        return Radiometry(
            bias=tuple((self._sums / pixels).tolist()) if self._pixels else (),
            bias_limits=tuple(self._limits.tolist()) if self._pixels else (),
            block_error=self._block_error,
            overshoot=self._overshoot,
            outside=self._outside / max(self._samples, 1),
            shifts={name: self._shifts[name] / count for name, count in self._index_pixels.items() if count},
        )


def _greatest(values: Tensor) -> float:
    return float(values.amax()) if values.numel() else 0.0


def _index(bands: Tensor) -> Tensor:
    return (bands[0] - bands[1]) / (bands[0] + bands[1])


def _local_range(around: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Least and greatest valid value of each pixel's 3×3 neighbourhood, (C, H, W) each."""
    shown: Sequence[Tensor] = (around, around)
    if valid is not None:
        infinite = torch.full_like(around, torch.inf)
        shown = torch.where(valid, around, infinite), torch.where(valid, around, -infinite)
    least = -functional.max_pool2d(-shown[0][None], 3, 1)[0]
    return least, functional.max_pool2d(shown[1][None], 3, 1)[0]
