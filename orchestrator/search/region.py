"""Region of the search space that a sampler suggests from: around the best trial so far.

A trust region in its simplest form (Eriksson et al. 2019, arXiv 1910.01739, shrink and move theirs): once the starts
have shown where good configurations lie, trials in far corners of the space are wasted. The region follows the best
trial, so that no part of the space is out of reach.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

Space = dict[str, BaseDistribution]

_FACTOR = {"learning_rate": 4.0, "lambda_": 30.0}
"""Largest ratio to the best trial's value."""

_BLOCKS = 3
"""Largest difference from the best trial's frozen depth."""


@dataclass(frozen=True, slots=True)
class Region:
    """Region around a study's best trial.

    Attributes:
        lambda_floor: λ below this means exactly 0: from there, every positive λ up to 30 floors is near.
    """

    lambda_floor: float

    def around(self, best: Mapping[str, float], space: Space) -> Space:
        """The part of a space that lies around a point; settings of other names keep their whole range.

        Args:
            best: The point, by setting.
            space: The whole space.
        """
        return {name: self._near(name, best[name], whole) for name, whole in space.items()}

    def _near(self, name: str, value: float, whole: BaseDistribution) -> BaseDistribution:
        if isinstance(whole, FloatDistribution) and name in _FACTOR:
            factor, floor = _FACTOR[name], self.lambda_floor if name == "lambda_" else 0.0
            low = whole.low if value < floor else max(whole.low, value / factor)
            return FloatDistribution(low, min(whole.high, max(value, floor) * factor), log=whole.log)
        if isinstance(whole, IntDistribution) and name == "frozen_depth":
            return IntDistribution(max(whole.low, int(value) - _BLOCKS), min(whole.high, int(value) + _BLOCKS))
        return whole
