"""Paired differences with intervals over scenes and seeds, and the verdicts that rest on them.

Images of one scene resemble each other, so the scene is the unit. Differences are often skewed, and a test split has
few scenes: Student's t then misses on one side. The interval here is Student's on Hall's scale (Hall 1992, J. R. Stat.
Soc. B 54(1), 221-228), which takes the skewness out of t and can be inverted, widened at each end by half an unseen
scene as far out as the outermost one seen. Seeds add the variance of their means (Welch and Satterthwaite).
`benchmarks/statistics` compares its coverage with that of seven other methods.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from orchestrator.foundation.vocabulary import Verdict

FEWEST_SCENES = 6
"""With fewer scenes no claim at 5 % can be made: even if all of them agree, chance does that in 2 / 2^n of cases."""

RARE = 0.1
"""Share of scenes whose harm counts as rare; one in ten stays unseen in 10 % of test splits of 22 scenes."""

LARGEST_LOSS = 5.0
"""PSNR in dB that an unseen scene may plausibly lose; fine-tuned models lost up to 4.7 on images of another kind."""

_NEARLY_SYMMETRIC = 1e-3


@dataclass(frozen=True, slots=True)
class SeedSpread:
    """Variance of a mean over seeds, with its degrees of freedom; ``sd`` is between single seeds."""

    variance: float = 0.0
    freedom: float = inf
    sd: float = 0.0


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean difference over ``scenes`` scenes with its 95 % interval; positive favours the first arm."""

    mean: float
    low: float
    high: float
    scenes: int

    @property
    def verdict(self) -> Verdict:
        """Verdict on a difference of PSNR in dB, however small."""
        return self.judged()

    def judged(self, smallest_effect: float = 0.0, largest_loss: float = LARGEST_LOSS) -> Verdict:
        """The verdict.

        Args:
            smallest_effect: Smallest difference that matters, in the unit of the mean.
            largest_loss: What a scene may plausibly lose, in the same unit; infinite where nothing is known.

        Returns:
            ``too few scenes`` below six, unless nothing differs. ``no difference that matters`` if the interval lies
            within the smallest effect, or if it excludes zero and the mean is below the smallest effect. ``tie`` if
            the interval holds zero otherwise: neither is shown to be ahead. Above zero, ``too few scenes to exclude
            rare harm`` instead of ``better`` where ``break_even`` is a plausible loss.
        """
        if self.scenes < FEWEST_SCENES and not self.mean == self.low == self.high == 0:
            return "too few scenes"
        decided = self.low > 0 or self.high < 0
        within = -smallest_effect <= self.low and self.high <= smallest_effect
        if smallest_effect and (within or (decided and abs(self.mean) < smallest_effect)):
            return "no difference that matters"
        if not decided:
            return "tie"
        if self.high < 0:
            return "worse"
        return "better" if self.break_even > largest_loss else "too few scenes to exclude rare harm"

    @property
    def unseen_share(self) -> float:
        """Largest share of scenes of some kind of which none is among the scenes in at least 10 % of cases."""
        return float(1 - 0.1 ** (1 / self.scenes))

    @property
    def break_even(self) -> float:
        """Loss of each scene of the largest unseen share that would cancel the mean; infinite if no share is rare."""
        share = self.unseen_share
        return inf if share <= RARE else self.mean * (1 - share) / share


def paired_interval(differences: Sequence[float], scenes: Sequence[str], seeds: SeedSpread | None = None) -> Interval:
    """Mean of per-image differences with its 95 % interval over scenes, and over seeds where their spread is given.

    Args:
        differences: One value per image, averaged over seeds.
        scenes: Each image's scene.
        seeds: Spread of the difference over seeds.

    Raises:
        ValueError: If there are no images or the lengths differ.
    """
    given, count = np.asarray(differences, dtype=np.float64), len(set(scenes))
    if len(given) == len(scenes) and not np.isfinite(given).all():
        return Interval(float(given.mean()), -inf, inf, count)  # an image that is reproduced exactly has infinite PSNR
    values, mean = scene_values(differences, scenes), float(given.mean())
    spread = seeds or SeedSpread()
    below, above = (_with_seeds(values, reach, spread) for reach in _reaches(values))
    return Interval(mean, mean - below, mean + above, count)


def scene_values(differences: Sequence[float], scenes: Sequence[str]) -> NDArray[np.float64]:
    """One value per scene, in the order of their names; their mean is that of all images.

    They are the scenes' means where all have as many images; otherwise the mean of all images plus each scene's
    deviation from it, weighted by its share of the images.

    Raises:
        ValueError: If there are no images or the lengths differ.
    """
    values = np.asarray(differences, dtype=np.float64)
    if len(values) == 0 or len(values) != len(scenes):
        raise ValueError(f"Expected as many scenes as differences and at least one, found {len(scenes)}, {len(values)}")
    _, scene_of = np.unique(np.asarray(scenes), return_inverse=True)
    sums, counts = np.bincount(scene_of, weights=values), np.bincount(scene_of)
    mean = float(values.mean())
    return np.asarray(mean + (sums - counts * mean) * len(sums) / len(values), dtype=np.float64)


def seed_spread(first: ArrayLike, second: ArrayLike) -> SeedSpread:
    """Spread of the difference of two arms over seeds, from each run's mean; an arm of one run adds none.

    Arms with as many runs share their seeds, so the runs' differences are taken.

    Args:
        first: Mean score of each run of the first arm.
        second: Mean score of each run of the second arm.
    """
    runs = [np.asarray(arm, dtype=np.float64) for arm in (first, second)]
    if len(runs[0]) == len(runs[1]):
        runs = [runs[0] - runs[1]]
    runs = [arm for arm in runs if len(arm) > 1 and np.isfinite(arm).all()]
    single = [float(arm.var(ddof=1)) for arm in runs]
    parts = [variance / len(arm) for arm, variance in zip(runs, single, strict=True)]
    total = sum(parts)
    if total == 0:
        return SeedSpread()
    freedom = total**2 / sum(part**2 / (len(arm) - 1) for part, arm in zip(parts, runs, strict=True))
    return SeedSpread(total, freedom, sqrt(sum(single)))


def _reaches(values: NDArray[np.float64]) -> tuple[float, float]:
    """Distances of the ends of the interval over scenes alone from the mean, below and above."""
    count, error = len(values), float(values.std(ddof=1)) if len(values) > 1 else 0.0
    if error <= 1e-12 * float(np.abs(values).max()):
        return 0.0, 0.0
    skewness = _skewness(values)
    quantile = _student(count - 1) / sqrt(count)
    unseen = 1 / (2 * count + 1)
    mean = values.mean()
    below = error * _untransformed(quantile, skewness, count) + unseen * float(mean - values.min())
    above = -error * _untransformed(-quantile, skewness, count) + unseen * float(values.max() - mean)
    return below, above


def _skewness(values: NDArray[np.float64]) -> float:
    """The sample's G1, which is unbiased for a normal; 0 of two values."""
    count = len(values)
    if count < 3:
        return 0.0
    cubes = float((((values - values.mean()) / values.std(ddof=1)) ** 3).sum())
    return cubes * count / ((count - 1) * (count - 2))


def _student(freedom: float) -> float:
    """The 97.5 % quantile of Student's t."""
    return float(stdtrit(freedom, 0.975))


def _untransformed(value: float, skewness: float, count: int) -> float:
    """Inverse of Hall's transformation ``t + γt²/3 + γ²t³/27 + γ/6n`` of a mean over its standard deviation."""
    if abs(skewness) < _NEARLY_SYMMETRIC:
        return value
    return 3 / skewness * float(np.cbrt(1 + skewness * (value - skewness / (6 * count))) - 1)


def _with_seeds(values: NDArray[np.float64], reach: float, seeds: SeedSpread) -> float:
    """A reach over scenes, widened by the variance of the seeds' mean; never narrower."""
    count = len(values)
    if count < 2 or not seeds.variance:
        return reach
    over_scenes = float(values.var(ddof=1)) / count
    total = over_scenes + seeds.variance
    freedom = total**2 / (over_scenes**2 / (count - 1) + seeds.variance**2 / seeds.freedom)
    error = reach / _student(count - 1)
    return max(reach, sqrt(error**2 + seeds.variance) * _student(freedom))
