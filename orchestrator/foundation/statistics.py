"""Paired differences with bootstrap intervals, and Wilcoxon's test beside them.

Images of one scene resemble each other, so scenes, not images, are resampled (the cluster bootstrap; Davison and
Hinkley 1997, §3.8). With few scenes the plain percentile interval is too narrow, so the expanded one is used
(Hesterberg 2015, arXiv 1411.5279, §4.2): its tail is that of a normal beyond √(n/(n-1)) times Student's t quantile.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm, wilcoxon
from scipy.stats import t as student

from orchestrator.foundation.vocabulary import Verdict

RESAMPLES = 10_000

FEWEST_SCENES = 6
"""With fewer scenes no claim at 5 % can be made: even if all of them agree, chance does that in 2 / 2^n of cases."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean difference over ``scenes`` scenes with its 95 % interval; positive favours the first arm."""

    mean: float
    low: float
    high: float
    scenes: int

    @property
    def verdict(self) -> Verdict:
        """``tie`` where the interval holds zero, ``too few scenes`` where it cannot be trusted."""
        if self.scenes < FEWEST_SCENES and not self.mean == self.low == self.high == 0:
            return "too few scenes"
        return "better" if self.low > 0 else "worse" if self.high < 0 else "tie"


def paired_interval(differences: Sequence[float], scenes: Sequence[str], seed: int = 0) -> Interval:
    """Mean of per-image differences with its 95 % cluster-bootstrap interval.

    Args:
        differences: One value per image.
        scenes: Each image's scene.
        seed: Seed of the resampling.

    Raises:
        ValueError: If there are no images or the lengths differ.
    """
    sums, counts = _by_scene(differences, scenes)
    picks = np.random.default_rng(seed).integers(len(sums), size=(RESAMPLES, len(sums)))
    means = sums[picks].sum(1) / counts[picks].sum(1)
    low, high = np.quantile(means, [_tail(len(sums)), 1 - _tail(len(sums))])
    return Interval(float(np.mean(differences)), float(low), float(high), len(sums))


def wilcoxon_p(differences: Sequence[float], scenes: Sequence[str]) -> float:
    """Two-sided p of the signed-rank test on the scenes' mean differences (Wilcoxon, Biometrics Bulletin 1(6), 1945).

    It asks whether scenes tend to one side, whatever the size of the largest; the interval is of the mean. Scenes
    without a difference are left out; 1 where none remains. Two to five scenes cannot give less than 0.5 to 0.06.

    Args:
        differences: One value per image.
        scenes: Each image's scene.

    Raises:
        ValueError: If there are no images or the lengths differ.
    """
    sums, counts = _by_scene(differences, scenes)
    means = sums / counts
    return float(wilcoxon(means[means != 0]).pvalue) if means.any() else 1.0


def _by_scene(differences: Sequence[float], scenes: Sequence[str]) -> tuple[Any, Any]:
    """Sum of the differences and number of images of each scene."""
    values = np.asarray(differences, dtype=np.float64)
    if len(values) == 0 or len(values) != len(scenes):
        raise ValueError(f"Expected as many scenes as differences and at least one, found {len(scenes)}, {len(values)}")
    _, scene_of = np.unique(np.asarray(scenes), return_inverse=True)
    return np.bincount(scene_of, weights=values), np.bincount(scene_of)


def _tail(scenes: int) -> float:
    if scenes < 2:
        return 0.0
    return float(norm.cdf(np.sqrt(scenes / (scenes - 1)) * student.ppf(0.025, scenes - 1)))
