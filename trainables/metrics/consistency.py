"""Consistency of an upscaled scene with its source, measured without HR while the pixels are at hand.

Radiometry is measured beside it, see :mod:`trainables.metrics.radiometry`.

Three measures of opensr-test's consistency (Aybar et al. 2024, https://doi.org/10.1109/LGRS.2024.3401394), between the
LR scene and the SR output averaged over the r×r pixels of each LR pixel: reflectance, spectral angle and shift.

Shapes: C bands, H×W LR pixels of a window, r the scale factor. Values are in the units of the scene's normalisation,
in which 1 is the reflectance 1 or the top of the stated range.
"""

import copy
import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from trainables.errors import UsageError
from trainables.metrics.consistency_record import ConsistencyRecord, MeterState
from trainables.metrics.radiometry import Blocks, Radiometry, RadiometryMeter
from trainables.metrics.registration import phase_shift
from trainables.metrics.spectral import spectral_angles

REFLECTANCE_LIMIT = 0.02
"""Mean absolute difference of a band above which a scene is flagged, in units of the normalisation."""
ANGLE_LIMIT = 3.0
"""Mean spectral angle above which a scene is flagged, in degrees."""
SHIFT_LIMIT = 0.25
"""Displacement above which a scene is flagged, in LR pixels."""

_PATCH, _LEAST_PATCH = 64, 16
_PATCHES = 16
_LEAST_CONTRAST = 1 / 255
_ROWS = 8
"""LR rows whose output is averaged at once: it stays in a core's cache."""
Values = NDArray[Any] | Tensor
Levels = NDArray[Any] | float


@dataclass(frozen=True, slots=True)
class Consistency:
    """Consistency metrics of one scene.

    Attributes:
        pixels: Valid LR pixels that were compared.
        non_finite: Valid LR pixels whose output is not finite throughout; they are in no mean.
        reflectance: Per band, the mean of |mean of the r×r output pixels − LR|; empty without pixels.
        spectral_angle: Mean angle between the bands' vectors of LR and output in degrees; None with one band, or where
            all pixels are zero.
        shift: By how many LR pixels (down, right) the output is displaced; None where no patch has contrast.
        patches: Number of patches that the shift is the median of.
        radiometry: Bias, overshoot, values beyond the range, and shifts of indices.
    """

    pixels: int
    non_finite: int
    reflectance: tuple[float, ...]
    spectral_angle: float | None
    shift: tuple[float, float] | None
    patches: int
    radiometry: Radiometry

    @property
    def flags(self) -> tuple[str, ...]:
        """Reasons to flag the scene: ``non-finite``, ``reflectance``, ``spectral-angle``, ``shift``, of radiometry."""
        beyond = {
            "non-finite": self.non_finite > 0,
            "reflectance": any(band > REFLECTANCE_LIMIT for band in self.reflectance),
            "spectral-angle": self.spectral_angle is not None and self.spectral_angle > ANGLE_LIMIT,
            "shift": self.shift is not None and math.hypot(*self.shift) > SHIFT_LIMIT,
        }
        return (*(name for name, is_beyond in beyond.items() if is_beyond), *self.radiometry.flags)

    def to_dict(self) -> ConsistencyRecord:
        """Plain values for a ledger; differences and pixels to six digits, degrees to four."""
        return {
            "pixels": self.pixels,
            "non_finite": self.non_finite,
            "reflectance": [round(band, 6) for band in self.reflectance],
            "spectral_angle": None if self.spectral_angle is None else round(self.spectral_angle, 4),
            "shift": None if self.shift is None else [round(offset, 6) for offset in self.shift],
            "patches": self.patches,
            "radiometry": self.radiometry.to_dict(),
            "flags": list(self.flags),
        }


@dataclass(slots=True)
class ConsistencyMeter:
    """Collects a scene's windows, in any order and of any size, in constant memory.

    The shift is the median, down and right apart, over the :data:`_PATCHES` patches of highest contrast among all
    wholly valid squares of 64×64 LR pixels (less where a window is narrower, down to 16) that the windows divide into.
    Half of them may be wrong, as clouds' shadows on water or repeated patterns are, before it is. Patches whose
    standard deviation is below 1/255 say nothing about place and are left out.

    Several workers on one scene have a meter each; its :meth:`state` goes where torch is not loaded, and is merged.

    Attributes:
        scale: Scale factor r.
        bands: Number of bands C.
    """

    scale: int
    bands: int
    _pixels: int = 0
    _non_finite: int = 0
    _differences: NDArray[np.float64] = field(init=False)
    _angles: float = 0.0
    _angle_pixels: int = 0
    _best: list[tuple[float, float, float]] = field(default_factory=list)
    _radiometry: RadiometryMeter = field(init=False)

    def __post_init__(self) -> None:
        self._differences = np.zeros(self.bands)
        self._radiometry = RadiometryMeter(self.bands)

    def add(
        self,
        lr: Values,
        sr: Values,
        valid: Values | None = None,
        low: Levels = 0.0,
        high: Levels = 1.0,
        around: Values | None = None,
        around_valid: Values | None = None,
        named: Mapping[str, int] | None = None,
        seen: Sequence[int] | None = None,
    ) -> None:
        """Compares one window; an even sample of a scene's windows is a fair sample of the scene.

        Args:
            lr: (C, H, W) source values.
            sr: (C, r·H, r·W) output values of the same place, in the same units.
            valid: (H, W), true where the source has data; None where it has all. Other pixels may hold anything.
            low: Value of ``lr`` and ``sr`` that means 0, or one for each band.
            high: Value that means 1, or one for each band.
            around: (C, H + 2, W + 2), ``lr`` with one more pixel to each side; by default its border is repeated.
            around_valid: Of the same shape, true where a single value is valid; by default as ``valid``.
            named: Positions of the bands red, green and nir, as far as they are known.
            seen: Positions of the bands that a network saw; by default all.

        Raises:
            UsageError: If the shapes do not belong together.
        """
        source, output = torch.as_tensor(lr), torch.as_tensor(sr)
        self._check(source, output)
        bottom, top = self._levels(low), self._levels(high)
        blocks = _blocks(output, self.scale)
        means = (blocks.means - bottom) / (top - bottom)
        stored = source.float().cpu()
        values = (stored - bottom) / (top - bottom)
        good = torch.ones(values.shape[1:], dtype=torch.bool) if valid is None else torch.as_tensor(valid).cpu().bool()
        if good.shape != values.shape[1:]:
            raise UsageError(f"A mask of shape {tuple(values.shape[1:])} was expected, found {tuple(good.shape)}.")
        finite = (means + values).isfinite().all(0)
        self._non_finite += int((good & ~finite).sum())
        good = good & finite
        self._pixels += int(good.sum())
        self._differences += torch.where(good, (means - values).abs(), 0).sum((1, 2), dtype=torch.float64).numpy()
        if self.bands > 1:
            angles, defined = spectral_angles(values, means)
            defined &= good
            self._angles += float(torch.where(defined, angles, 0).sum(dtype=torch.float64))
            self._angle_pixels += int(defined.sum())
        self._add_patches(values, means, good)
        known = None if around_valid is None else torch.as_tensor(around_valid).cpu()
        if around is None:
            known = None if valid is None else _bordered(good.float()[None])[0].bool().expand(self.bands, -1, -1)
        wider = _bordered(stored) if around is None else torch.as_tensor(around).float().cpu()
        bands = range(self.bands) if seen is None else seen
        self._radiometry.add(
            wider, known, blocks, good, (bottom, top), not output.is_floating_point(), named or {}, bands
        )

    def _levels(self, level: Levels) -> Tensor:
        return torch.as_tensor(level, dtype=torch.float32).reshape(-1, 1, 1).expand(self.bands, 1, 1)

    def state(self) -> MeterState:
        """All that the meter has seen, as plain numbers and numpy arrays."""
        return asdict(self)

    @classmethod
    def of(cls, state: MeterState) -> "ConsistencyMeter":
        """The meter that had a :meth:`state`; nothing of the state is changed by what it sees later."""
        meter = cls(state["scale"], state["bands"])
        # A copy, since arrays that came through Ray are read-only.
        for name, value in copy.deepcopy(state).items():
            setattr(meter, name, RadiometryMeter.of(value) if name == "_radiometry" else value)
        return meter

    def merge(self, other: "ConsistencyMeter") -> None:
        """Adds what another meter has seen of the same scene."""
        self._pixels += other._pixels
        self._non_finite += other._non_finite
        self._differences += other._differences
        self._angles += other._angles
        self._angle_pixels += other._angle_pixels
        self._best = heapq.nlargest(_PATCHES, self._best + other._best)
        heapq.heapify(self._best)
        self._radiometry.merge(other._radiometry)

    def result(self) -> Consistency:
        """Consistency over all windows so far."""
        shift = np.median([(down, right) for _, down, right in self._best], axis=0) if self._best else None
        return Consistency(
            pixels=self._pixels,
            non_finite=self._non_finite,
            reflectance=tuple((self._differences / self._pixels).tolist()) if self._pixels else (),
            spectral_angle=math.degrees(self._angles / self._angle_pixels) if self._angle_pixels else None,
            shift=None if shift is None else (float(shift[0]), float(shift[1])),
            patches=len(self._best),
            radiometry=self._radiometry.result(),
        )

    def _add_patches(self, values: Tensor, means: Tensor, good: Tensor) -> None:
        height, width = good.shape
        rows, columns = min(_PATCH, height), min(_PATCH, width)
        if min(rows, columns) < _LEAST_PATCH:
            return

        def squares(image: Tensor) -> Tensor:
            return image.unfold(0, rows, rows).unfold(1, columns, columns).flatten(0, 1)

        before, after = squares(values.mean(0)), squares(means.mean(0))
        contrasts = torch.where(squares(good).flatten(1).all(1), before.flatten(1).std(1), 0)
        # Those of highest contrast first: finding a displacement is what costs.
        for place in contrasts.argsort(descending=True)[:_PATCHES].tolist():
            contrast = float(contrasts[place])
            if contrast < _LEAST_CONTRAST or (len(self._best) == _PATCHES and contrast <= self._best[0][0]):
                break
            shift = phase_shift(before[place].double().numpy(), after[place].double().numpy())
            heapq.heappush(self._best, (contrast, *shift))
            if len(self._best) > _PATCHES:
                heapq.heappop(self._best)

    def _check(self, lr: Tensor, sr: Tensor) -> None:
        expected = (self.bands, *(side * self.scale for side in lr.shape[1:]))
        if lr.ndim != 3 or lr.shape[0] != self.bands or tuple(sr.shape) != expected:
            raise UsageError(
                f"Windows of {self.bands} bands at x{self.scale} were expected, found LR {tuple(lr.shape)} and output "
                f"{tuple(sr.shape)}."
            )


def _bordered(image: Tensor) -> Tensor:
    """Repeats the outermost pixels once: (C, H, W) to (C, H + 2, W + 2)."""
    return functional.pad(image[None], (1, 1, 1, 1), mode="replicate")[0]


def _blocks(output: Tensor, scale: int) -> Blocks:
    """Means and extremes of r×r pixels: (C, r·H, r·W) of any type to (C, H, W) float32 each on the CPU."""
    bands, height, width = output.shape
    blocks = Blocks(*(torch.empty(bands, height // scale, width // scale) for _ in range(3)))
    for first in range(0, height // scale, _ROWS):
        rows = output[:, first * scale : (first + _ROWS) * scale].cpu().float()
        lines, place = rows.reshape(bands, -1, scale, width), slice(first, first + _ROWS)
        sums = lines.sum(2)
        blocks.means[:, place] = torch.stack([sums[..., k::scale] for k in range(scale)]).sum(0) / scale**2
        blocks.least[:, place] = lines.amin(2).reshape(bands, -1, width // scale, scale).amin(-1)
        blocks.most[:, place] = lines.amax(2).reshape(bands, -1, width // scale, scale).amax(-1)
    return blocks
