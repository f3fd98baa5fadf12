"""Gain that a model of a study's finished trials expects of one more trial."""

import math
import warnings
from collections.abc import Mapping

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from orchestrator.search.samplers import EXCESS, finished_trials

_CANDIDATES = 512

Floats = NDArray[np.float64]


def expected_gain(study: optuna.Study, space: Mapping[str, BaseDistribution], noise: float) -> float | None:
    """Largest expected improvement in dB over a space (Jones, Schonlau and Welch 1998), of the score without noise.

    The model is a Gaussian process with a Matérn kernel and known noise; the best score so far is its mean at the
    tried points, so that a lucky seed does not raise it. Where a search limits what the source may lose, a second
    process models the loss above the limit, the best score is that of feasible trials, and each improvement counts
    with the probability of being feasible (Gardner et al. 2014, "Bayesian optimization with inequality constraints").

    Args:
        study: A study of one objective; diverged and stopped trials are left out.
        space: The part of the search space that trials are suggested from.
        noise: Standard deviation in dB of a training's score over seeds.

    Returns:
        The gain, 0 or more; None with fewer than two finished trials, or none of them feasible.
    """
    trials = finished_trials(study)
    excess = np.array([trial.constraints.get(EXCESS, 0.0) for trial in trials])
    if len(trials) < 2 or excess.min() > 0:
        return None
    tried = np.array([_unit(trial.params, space) for trial in trials])
    candidates = np.random.default_rng(0).random((_CANDIDATES, len(space)))
    score = _Surface(tried, np.array([trial.values[0] for trial in trials]), noise)
    mean, deviation = score.predict(candidates)
    above = (mean - score.predict(tried[excess <= 0])[0].max()) / deviation
    gains = deviation * (above * norm.cdf(above) + norm.pdf(above))
    if any(EXCESS in trial.constraints for trial in trials):
        lost, doubt = _Surface(tried, excess, noise).predict(candidates)
        gains = gains * norm.cdf(-lost / doubt)
    return float(gains.max())


class _Surface:
    """A Gaussian process of values in dB over the unit cube, with known noise.

    Args:
        tried: Points, one a row.
        values: Value at each point.
        noise: Standard deviation of a value.
    """

    def __init__(self, tried: Floats, values: Floats, noise: float) -> None:
        self._scale, self._level = max(float(values.std()), noise), float(values.mean())
        self._noise = noise / self._scale
        kernel = ConstantKernel(1.0, (0.05, 20.0)) * Matern([0.3] * tried.shape[1], (0.05, 3.0), nu=2.5)
        self._model = GaussianProcessRegressor(kernel + WhiteKernel(self._noise**2, "fixed"), random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a length scale at the end of its range
            self._model.fit(tried, (values - self._level) / self._scale)

    def predict(self, points: Floats) -> tuple[Floats, Floats]:
        """Mean at each point, and standard deviation of the value without noise."""
        mean, deviation = self._model.predict(points, return_std=True)
        latent = np.sqrt(np.maximum(deviation**2 - self._noise**2, 1e-12))
        return mean * self._scale + self._level, latent * self._scale


def _unit(point: Mapping[str, float], space: Mapping[str, BaseDistribution]) -> list[float]:
    """A point with each setting's range as 0 to 1; beyond them outside the space."""
    return [_share(point[name], part) for name, part in space.items()]


def _share(value: float, part: BaseDistribution) -> float:
    assert isinstance(part, FloatDistribution | IntDistribution)
    if part.low == part.high:
        return 0.5
    if part.log:
        return math.log(value / part.low) / math.log(part.high / part.low)
    return (value - part.low) / (part.high - part.low)
