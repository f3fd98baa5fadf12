"""Intervals for statistics that are no means, by a bootstrap over scenes.

A distance of resampled sets is larger than that of the sets themselves, because scenes drawn twice make a set look
smaller than it is; percentiles would lie too high. The bootstrap's standard deviation does not suffer from that, so the
interval is the estimate ± Student's t times it (Davison & Hinkley 1997, §5.2).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval; the ends are NaN where there are fewer than two scenes."""

    value: float
    low: float
    high: float


def bootstrap_estimate(
    value: float,
    replicate: Callable[[np.random.Generator], float],
    scenes: int,
    *,
    resamples: int = 100,
    seed: int = 0,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Estimate:
    """The 95 % interval of a statistic.

    Args:
        value: The statistic of the scenes as they are.
        replicate: The statistic of scenes drawn anew, with replacement, by the generator that it is given.
        scenes: Scenes of the smallest set, which decide on the degrees of freedom.
        resamples: Number of bootstrap resamples.
        seed: Seed of the drawing.
        bounds: Least and largest value that the statistic can take; the interval is cut there.
    """
    if scenes < 2:
        return Estimate(value, np.nan, np.nan)
    rng = np.random.default_rng(seed)
    deviation = float(np.std([replicate(rng) for _ in range(resamples)], ddof=1))
    reach = float(student.ppf(0.975, scenes - 1)) * deviation
    return Estimate(value, max(bounds[0], value - reach), min(bounds[1], value + reach))


def drawn_scenes(scenes: Integers, rng: np.random.Generator) -> Integers:
    """As many scenes as there are, drawn with replacement; at least two different ones, where there are two.

    Statistics that compare scenes do not exist for one scene drawn again and again.

    Args:
        scenes: (n,), number of each row's scene.
        rng: Source of randomness.

    Returns:
        Row numbers, scene by scene.
    """
    known = np.unique(scenes)
    drawn = rng.choice(known, len(known))
    while len(known) > 1 and (drawn == drawn[0]).all():
        drawn = rng.choice(known, len(known))
    return np.concatenate([np.flatnonzero(scenes == scene) for scene in drawn])
