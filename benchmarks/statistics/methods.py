"""95 % intervals of a mean by nine methods, for many samples at once.

A method takes samples of shape (samples, scenes) and gives the lower and the upper ends.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import f as fisher
from scipy.stats import norm
from scipy.stats import t as student

from orchestrator.foundation.statistics import SeedSpread, paired_interval

Samples = NDArray[np.float64]
Ends = tuple[NDArray[np.float64], NDArray[np.float64]]
Method = Callable[[Samples, np.random.Generator], Ends]

OURS = "RayScale's"
RESAMPLES = 600
_AT_ONCE = 250


def students(samples: Samples, _: np.random.Generator) -> Ends:
    """Student's t (1908)."""
    count = samples.shape[1]
    return _around(samples, student.ppf(0.975, count - 1) * samples.std(1, ddof=1) / np.sqrt(count))


def johnsons(samples: Samples, _: np.random.Generator) -> Ends:
    """Student's t around a mean that is moved by the skewness (Johnson 1978)."""
    count, sd = samples.shape[1], samples.std(1, ddof=1)
    moved = _adjusted_skewness(samples) * sd / (6 * count)
    low, high = _around(samples, student.ppf(0.975, count - 1) * sd / np.sqrt(count))
    return low + moved, high + moved


def halls_student(samples: Samples, _: np.random.Generator) -> Ends:
    """Student's quantiles on Hall's transformed scale (Hall 1992)."""
    count = samples.shape[1]
    quantile = np.full(len(samples), student.ppf(0.975, count - 1) / np.sqrt(count))
    mean, sd, skewness = samples.mean(1), samples.std(1, ddof=1), _adjusted_skewness(samples)
    return (
        mean - sd * _from_halls(quantile, skewness, count),
        mean - sd * _from_halls(-quantile, skewness, count),
    )


def ours(samples: Samples, _: np.random.Generator) -> Ends:
    """The product's interval."""
    names = [str(i) for i in range(samples.shape[1])]
    found = [paired_interval(row.tolist(), names) for row in samples]
    return np.array([each.low for each in found]), np.array([each.high for each in found])


def likelihood(samples: Samples, _: np.random.Generator) -> Ends:
    """Adjusted empirical likelihood (Chen, Variyath and Abraham 2008) with the F distribution's quantile."""
    count = samples.shape[1]
    critical = fisher.ppf(0.95, 1, count - 1) * count / (count - 1)
    ends = []
    for side in (-1, 1):
        inside, outside = samples.mean(1), samples.mean(1) + side * 30 * samples.std(1) / np.sqrt(count)
        for _round in range(30):
            middle = (inside + outside) / 2
            accepted = _likelihood_ratio(samples, middle) < critical
            inside, outside = np.where(accepted, middle, inside), np.where(accepted, outside, middle)
        ends.append(inside)
    return ends[0], ends[1]


def percentile(samples: Samples, rng: np.random.Generator) -> Ends:
    """Expanded bootstrap percentiles (Hesterberg 2015), the product's interval up to version 0.3."""
    count = samples.shape[1]
    tail = norm.cdf(np.sqrt(count / (count - 1)) * student.ppf(0.025, count - 1))
    low, high = np.quantile(_resampled(samples, rng).mean(2), [tail, 1 - tail], axis=1)
    return low, high


def accelerated(samples: Samples, rng: np.random.Generator) -> Ends:
    """Bias-corrected and accelerated bootstrap percentiles, BCa (Efron 1987)."""
    means = np.sort(_resampled(samples, rng).mean(2), axis=1)
    below = (means < samples.mean(1)[:, None]).mean(1)
    bias, speed = norm.ppf(np.clip(below, 1e-3, 1 - 1e-3)), _skewness(samples) / (6 * np.sqrt(samples.shape[1]))
    ends = []
    for tail in (0.025, 0.975):
        moved = bias + norm.ppf(tail)
        rank = norm.cdf(bias + moved / (1 - speed * moved)) * RESAMPLES
        ends.append(means[np.arange(len(means)), np.clip(rank.astype(int), 0, RESAMPLES - 1)])
    return ends[0], ends[1]


def studentised(samples: Samples, rng: np.random.Generator) -> Ends:
    """Bootstrap-t (Efron 1979)."""
    low, high = np.quantile(_t_of(samples, _resampled(samples, rng)), [0.025, 0.975], axis=1)
    mean, sd = samples.mean(1), samples.std(1)
    return mean - sd * high, mean - sd * low


def halls_bootstrap(samples: Samples, rng: np.random.Generator) -> Ends:
    """Bootstrap-t on Hall's transformed scale (Hall 1992)."""
    count, drawn = samples.shape[1], _resampled(samples, rng)
    t, skewness = _t_of(samples, drawn), _skewness(drawn)
    scaled = t + skewness * t**2 / 3 + skewness**2 * t**3 / 27 + skewness / (6 * count)
    low, high = np.quantile(scaled, [0.025, 0.975], axis=1)
    mean, sd, own = samples.mean(1), samples.std(1), _skewness(samples)
    return mean - sd * _from_halls(high, own, count), mean - sd * _from_halls(low, own, count)


METHODS: Mapping[str, Method] = {
    "Student": students,
    "expanded percentile": percentile,
    "BCa": accelerated,
    "Johnson": johnsons,
    "empirical likelihood": likelihood,
    "bootstrap-t": studentised,
    "bootstrap-t, Hall's scale": halls_bootstrap,
    "Student, Hall's scale": halls_student,
    OURS: ours,
}


def in_parts(method: Method, samples: Samples, rng: np.random.Generator) -> Ends:
    """The ends of all samples, in parts that fit into memory."""
    parts = [method(samples[i : i + _AT_ONCE], rng) for i in range(0, len(samples), _AT_ONCE)]
    return np.concatenate([low for low, _ in parts]), np.concatenate([high for _, high in parts])


def seeds_left_out(runs: Samples, rng: np.random.Generator) -> Ends:
    """The product's interval over scenes alone."""
    return ours(runs.mean(1), rng)


def seeds_added(runs: Samples, _: np.random.Generator) -> Ends:
    """The product's interval over scenes and seeds."""
    count, names = runs.shape[1], [str(i) for i in range(runs.shape[2])]
    variances = runs.mean(2).var(1, ddof=1)
    found = [
        paired_interval(run.mean(0).tolist(), names, SeedSpread(variance / count, count - 1))
        for run, variance in zip(runs, variances, strict=True)
    ]
    return np.array([each.low for each in found]), np.array([each.high for each in found])


def seeds_by_mover(runs: Samples, rng: np.random.Generator) -> Ends:
    """Reaches over scenes and over seeds as legs of a right triangle, MOVER (Zou and Donner 2008)."""
    count, mean = runs.shape[1], runs.mean((1, 2))
    over_seeds = student.ppf(0.975, count - 1) * runs.mean(2).std(1, ddof=1) / np.sqrt(count)
    low, high = ours(runs.mean(1), rng)
    return mean - np.hypot(mean - low, over_seeds), mean + np.hypot(high - mean, over_seeds)


def two_levels(runs: Samples, rng: np.random.Generator) -> Ends:
    """Expanded bootstrap percentiles with scenes and seeds both resampled."""
    samples, seeds, count = runs.shape
    which = rng.integers(seeds, size=(samples, RESAMPLES, seeds))
    scenes = rng.integers(count, size=(samples, RESAMPLES, count))
    means = np.zeros((samples, RESAMPLES))
    for seed in range(seeds):
        of_seed = np.broadcast_to(runs[:, seed, None, :], scenes.shape)
        means += (which == seed).mean(2) * np.take_along_axis(of_seed, scenes, 2).mean(2)
    tail = norm.cdf(np.sqrt(count / (count - 1)) * student.ppf(0.025, count - 1))
    low, high = np.quantile(means, [tail, 1 - tail], axis=1)
    return low, high


WITH_SEEDS: Mapping[str, Method] = {
    "scenes alone": seeds_left_out,
    "two-level bootstrap": two_levels,
    "MOVER": seeds_by_mover,
    OURS: seeds_added,
}
"""Methods of runs of shape (samples, seeds, scenes)."""


def _around(samples: Samples, reach: NDArray[np.float64]) -> Ends:
    return samples.mean(1) - reach, samples.mean(1) + reach


def _resampled(samples: Samples, rng: np.random.Generator) -> NDArray[np.float64]:
    """Resamples of shape (samples, resamples, scenes)."""
    chosen = rng.integers(samples.shape[1], size=(len(samples), RESAMPLES, samples.shape[1]))
    drawn: NDArray[np.float64] = np.take_along_axis(samples[:, None, :], chosen, 2)
    return drawn


def _t_of(samples: Samples, drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    """The resamples' means over their standard deviations; 0 where all of a resample is one value."""
    deviation, sd = drawn.mean(2) - samples.mean(1)[:, None], drawn.std(2)
    return np.divide(deviation, sd, out=np.zeros_like(sd), where=sd > 0)


def _skewness(values: NDArray[np.float64]) -> NDArray[np.float64]:
    deviations = values - values.mean(-1, keepdims=True)
    cubes, sd = (deviations**3).mean(-1), values.std(-1)
    skewness: NDArray[np.float64] = np.divide(cubes, sd**3, out=np.zeros_like(sd), where=sd > 0)
    return skewness


def _adjusted_skewness(samples: Samples) -> NDArray[np.float64]:
    count = samples.shape[1]
    return _skewness(samples) * np.sqrt(count * (count - 1)) / (count - 2)


def _from_halls(scaled: Any, skewness: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Inverse of Hall's transformation."""
    safe = np.where(np.abs(skewness) < 1e-6, 1e-6, skewness)
    plain: NDArray[np.float64] = 3 / safe * (np.cbrt(1 + safe * (scaled - safe / (6 * count))) - 1)
    return plain


def _likelihood_ratio(samples: Samples, mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """-2 log of the empirical likelihood ratio at a mean, with one more value that keeps it inside the hull."""
    values, count = samples - mean[:, None], samples.shape[1]
    further = -max(1.0, np.log(count) / 2) / count * values.sum(1, keepdims=True)
    values = np.concatenate([values, further], axis=1)
    low, high = -1 / values.max(1) * (1 - 1e-9), -1 / values.min(1) * (1 - 1e-9)
    for _ in range(40):
        middle = (low + high) / 2
        rising = (values / (1 + middle[:, None] * values)).sum(1) > 0
        low, high = np.where(rising, middle, low), np.where(rising, high, middle)
    ratio: NDArray[np.float64] = 2 * np.log1p(((low + high) / 2)[:, None] * values).sum(1)
    return ratio
