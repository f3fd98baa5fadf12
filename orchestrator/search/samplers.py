"""Optuna's samplers made repeatable, and Ray's searcher with numbered trials."""

import hashlib
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search.optuna import OptunaSearch

from orchestrator.search.divergence import penalised

DIVERGED = "diverged"
"""User attribute of an Optuna trial that diverged, and the key under which a trial reports it to Tune."""

EXCESS = "source_excess"
"""Key under which a trial reports its loss of source PSNR above the limit in dB, and name of the constraint in Optuna.

Both samplers that learn take it into account: TPE ranks infeasible trials below feasible ones, by how far they are
from feasible; the Gaussian process weights the expected improvement with the probability of being feasible (Gardner et
al. 2014, "Bayesian optimization with inequality constraints").
"""


def maximised(objectives: Sequence[str]) -> dict[str, Any]:
    """``metric`` and ``mode`` as OptunaSearch takes them: single values for one objective, lists for several."""
    if len(objectives) == 1:
        return {"metric": objectives[0], "mode": "max"}
    return {"metric": list(objectives), "mode": ["max"] * len(objectives)}


class NumberedSearch(OptunaSearch):
    """Ray's OptunaSearch with numbered trials: each takes the next of the missing numbers."""

    def __init__(self, numbers: Sequence[int] = (), **settings: Any) -> None:
        super().__init__(**settings)
        self._numbers = list(numbers)

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next configuration with its ``number``."""
        if not self._numbers:
            return None
        config: dict[str, Any] | None = super().suggest(trial_id)
        return None if config is None else {**config, "number": self._numbers.pop(0)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """See Ray; but reports a trial that was stopped early as failed, not with its last score as the final one.

        A diverged trial is marked, so that the sampler treats it as worse than every finished trial.
        """
        if result and result.get(DIVERGED):
            self._ot_trials[trial_id].set_user_attr(DIVERGED, True)
        if result and result.get(EXCESS) is not None:
            self._ot_trials[trial_id].set_constraint(EXCESS, result[EXCESS])
        stopped = bool(result and result.get("stopped"))
        super().on_trial_complete(trial_id, None if stopped else result, error or stopped)


class RepeatableSampler(optuna.samplers.BaseSampler):
    """An Optuna sampler whose random numbers depend on the seed and the trial's number alone.

    It treats a diverged trial as worse than every finished one, see :mod:`orchestrator.search.divergence`.
    """

    def __init__(self, kind: str, seed: int, startup_trials: int) -> None:
        self._kind, self._seed, self._startup = kind, seed, startup_trials
        self._number, self._inner = -1, self._make(0)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """See Optuna."""
        return self._for(trial).infer_relative_search_space(with_penalties(study), trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See Optuna."""
        return self._for(trial).sample_relative(with_penalties(study), trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """See Optuna."""
        return self._for(trial).sample_independent(with_penalties(study), trial, param_name, param_distribution)

    def _for(self, trial: FrozenTrial) -> optuna.samplers.BaseSampler:
        if trial.number != self._number:
            self._number, self._inner = trial.number, self._make(trial.number)
        return self._inner

    def _make(self, number: int) -> optuna.samplers.BaseSampler:
        seed = _seed_of(self._seed, number)
        if self._kind == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        if self._kind == "tpe":
            return optuna.samplers.TPESampler(seed=seed, n_startup_trials=self._startup)
        return optuna.samplers.GPSampler(seed=seed, n_startup_trials=self._startup)


def with_penalties(study: optuna.Study) -> optuna.Study:
    """The study for a sampler: itself, or if trials have diverged, a copy with their penalised values.

    A copy, because Optuna does not allow the values of a trial to be changed after its end.
    """
    trials = study.get_trials(deepcopy=True)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    diverged = [bool(trial.user_attrs.get(DIVERGED)) for trial in complete]
    if not any(diverged):
        return study
    for trial, values in zip(complete, penalised([trial.values for trial in complete], diverged), strict=True):
        trial.values = values
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        copy = optuna.create_study(directions=study.directions, storage=optuna.storages.InMemoryStorage())
    finally:
        optuna.logging.set_verbosity(verbosity)
    for trial in trials:
        copy.add_trial(trial)
    return copy


def _seed_of(seed: int, number: int) -> int:
    """A trial's own seed, below 2³² as NumPy requires; those of a study are very probably distinct."""
    mixed = seed * 100_003 + number
    if mixed < 2**32:
        return mixed
    return int.from_bytes(hashlib.sha256(str(mixed).encode()).digest()[:4], "big")
