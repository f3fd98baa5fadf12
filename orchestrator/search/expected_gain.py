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

from orchestrator.search.samplers import finished_trials

_CANDIDATES = 512


def expected_gain(study: optuna.Study, space: Mapping[str, BaseDistribution], noise: float) -> float | None:
    """Largest expected improvement in dB over a space (Jones, Schonlau and Welch 1998), of the score without noise.

    The model is a Gaussian process with a Matérn kernel and known noise; the best score so far is its mean at the
    tried points, so that a lucky seed does not raise it.

    Args:
        study: A study of one objective; diverged and stopped trials are left out.
        space: The part of the search space that trials are suggested from.
        noise: Standard deviation in dB of a training's score over seeds.

    Returns:
        The gain, 0 or more; None with fewer than two finished trials.
    """
    trials = finished_trials(study)
    if len(trials) < 2:
        return None
    tried = np.array([_unit(trial.params, space) for trial in trials])
    scores = np.array([trial.values[0] for trial in trials])
    scale = max(float(scores.std()), noise)
    kernel = ConstantKernel(1.0, (0.05, 20.0)) * Matern([0.3] * len(space), (0.05, 3.0), nu=2.5)
    model = GaussianProcessRegressor(kernel + WhiteKernel((noise / scale) ** 2, "fixed"), random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a length scale at the end of its range
        model.fit(tried, (scores - scores.mean()) / scale)
    candidates = np.random.default_rng(0).random((_CANDIDATES, len(space)))
    mean, deviation = model.predict(candidates, return_std=True)
    latent = np.sqrt(np.maximum(deviation**2 - (noise / scale) ** 2, 1e-12))
    above = (mean - model.predict(tried).max()) / latent
    gains: NDArray[np.float64] = latent * (above * norm.cdf(above) + norm.pdf(above))
    return float(gains.max()) * scale


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
