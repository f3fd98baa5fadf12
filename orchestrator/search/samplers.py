"""Optuna's samplers made repeatable, and Ray's searcher with numbered trials."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from orchestrator.search.divergence import penalised
from orchestrator.search.region import Region

Numbers = FloatDistribution | IntDistribution

DIVERGED = "diverged"
"""User attribute of an Optuna trial that diverged, and the key under which a trial reports it to Tune."""

FAILED = "failed"
"""Key under which a trial reports to Tune why it failed."""

EXCESS = "source_excess"
"""Key under which a trial reports its loss of source PSNR above the limit in dB, and name of the constraint in Optuna.

Both samplers that learn take it into account: TPE ranks infeasible trials below feasible ones, by how far they are
from feasible; the Gaussian process weights the expected improvement with the probability of being feasible (Gardner et
al. 2014, "Bayesian optimization with inequality constraints").
"""


def maximised(objectives: Sequence[str]) -> dict[str, object]:
    """``metric`` and ``mode`` as OptunaSearch takes them: single values for one objective, lists for several."""
    if len(objectives) == 1:
        return {"metric": objectives[0], "mode": "max"}
    return {"metric": list(objectives), "mode": ["max"] * len(objectives)}


class Guide(Protocol):
    """Decisions that a search asks for before each suggestion."""

    def ends(self, study: optuna.Study, number: int) -> bool:
        """True if the study ends before the trial of this number."""
        ...

    def given(self, study: optuna.Study, number: int) -> tuple[str, Mapping[str, float]] | None:
        """Origin and point of a trial that the sampler is not asked for."""
        ...


class NumberedSearch(OptunaSearch):
    """Ray's OptunaSearch with numbered trials: each takes the next of the missing numbers.

    Args:
        numbers: The missing numbers.
        guide: Decides when the study ends, and gives trials that the sampler is not asked for.
        ended: Called with the number of each trial that has ended.
        settings: Arguments of OptunaSearch.
    """

    def __init__(
        self,
        numbers: Sequence[int] = (),
        guide: Guide | None = None,
        ended: Callable[[int], None] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self._numbers, self._guide, self._ended = list(numbers), guide, ended
        self._number_of: dict[str, int] = {}
        self._failed = False

    def suggest(self, trial_id: str) -> dict[str, object] | None:
        """The next configuration with its ``number`` and, where the guide gives it, its ``origin``; see Ray on ends.

        After a failed trial there is none: the next ones depend on its score, so that it must be run again before them.
        """
        study: Any = self._ot_study
        if self._failed:
            return Searcher.FINISHED  # type: ignore[return-value]
        if self._numbers and self._guide is not None and self._guide.ends(study, self._numbers[0]):
            self._numbers.clear()
            return Searcher.FINISHED  # type: ignore[return-value]
        if not self._numbers:
            return None
        given = self._guide.given(study, self._numbers[0]) if self._guide is not None else None
        if given is not None:
            study.enqueue_trial(dict(given[1]))
        config: dict[str, object] | None = super().suggest(trial_id)
        if config is None:
            return None
        self._number_of[trial_id] = self._numbers.pop(0)
        return {**config, "number": self._number_of[trial_id], **({"origin": given[0]} if given else {})}

    def on_trial_complete(self, trial_id: str, result: dict[str, object] | None = None, error: bool = False) -> None:
        """See Ray; but reports a trial that was stopped early as failed, not with its last score as the final one.

        A diverged trial is marked, so that the sampler treats it as worse than every finished trial.
        """
        self._failed = self._failed or error or bool(result and result.get(FAILED))
        if result and result.get(DIVERGED):
            self._ot_trials[trial_id].set_user_attr(DIVERGED, True)
        if result and result.get(EXCESS) is not None:
            self._ot_trials[trial_id].set_constraint(EXCESS, result[EXCESS])
        unscored = error or bool(result and (result.get("stopped") or result.get(FAILED)))
        super().on_trial_complete(trial_id, None if unscored else result, unscored)
        if self._ended is not None and trial_id in self._number_of:
            self._ended(self._number_of[trial_id])


class RepeatableSampler(optuna.samplers.BaseSampler):
    """An Optuna sampler whose random numbers depend on the seed and the trial's number alone.

    It treats a diverged trial as worse than every finished one, see :mod:`orchestrator.search.divergence`.

    Args:
        kind: ``gp``, ``tpe`` or ``random``.
        seed: Start of its randomness.
        startup_trials: Trials before the sampler's model is used.
        region: Region around the best trial to suggest from; None for the whole space.
    """

    def __init__(self, kind: str, seed: int, startup_trials: int, region: Region | None = None) -> None:
        self._kind, self._seed, self._startup, self._region = kind, seed, startup_trials, region
        self._number, self._inner = -1, self._make(0)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """See Optuna."""
        return near(study, self._for(trial).infer_relative_search_space(with_penalties(study), trial), self._region)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, object]:
        """See Optuna."""
        seen = with_penalties(study)
        if self._region is not None and self._kind == "tpe":
            seen = _inside(seen, search_space)  # its densities do not reach beyond the space
        return self._for(trial).sample_relative(seen, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """See Optuna."""
        part = near(study, {param_name: param_distribution}, self._region)[param_name]
        return self._for(trial).sample_independent(with_penalties(study), trial, param_name, part)

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


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that were trained to their end and did not diverge."""
    complete = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    return [trial for trial in complete if not trial.user_attrs.get(DIVERGED)]


def near(study: optuna.Study, space: dict[str, BaseDistribution], region: Region | None) -> dict[str, BaseDistribution]:
    """The part of a space that is suggested from now: all of it without a region or a finished trial."""
    finished = finished_trials(study)
    if region is None or not finished:
        return space
    return region.around(max(finished, key=_standing).params, space)


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
    return _study_of(study.directions, trials)


def _inside(study: optuna.Study, space: dict[str, BaseDistribution]) -> optuna.Study:
    """A copy of a study in which trials outside a part of its space count as failed."""

    def inside(trial: FrozenTrial) -> bool:
        ranges = ((part, trial.params[name]) for name, part in space.items() if name in trial.params)
        return all(part.low <= value <= part.high for part, value in ranges if isinstance(part, Numbers))

    trials = study.get_trials(deepcopy=True)
    for trial in trials:
        if trial.state == TrialState.COMPLETE and not inside(trial):
            trial.state, trial.values = TrialState.FAIL, None
    return _study_of(study.directions, trials)


def _study_of(directions: Sequence[StudyDirection], trials: Sequence[FrozenTrial]) -> optuna.Study:
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        copy = optuna.create_study(directions=directions, storage=optuna.storages.InMemoryStorage())
    finally:
        optuna.logging.set_verbosity(verbosity)
    for trial in trials:
        copy.add_trial(trial)
    return copy


def _standing(trial: FrozenTrial) -> tuple[float, float]:
    """Order of trials: feasible ones by their score, after infeasible ones by how far they are from feasible."""
    excess = max(0.0, trial.constraints.get(EXCESS, 0.0))
    return -excess, trial.values[0]


def seed_of_study(seed: int, domain: str) -> int:
    """Start of the sampler's randomness in a domain's study: domains differ, so that they are not all asked alike."""
    return int.from_bytes(hashlib.sha256(f"{seed} {domain}".encode()).digest()[:8], "big")


def _seed_of(seed: int, number: int) -> int:
    """A trial's own seed, below 2³² as NumPy requires; those of a study are very probably distinct."""
    mixed = seed * 100_003 + number
    if mixed < 2**32:
        return mixed
    return int.from_bytes(hashlib.sha256(str(mixed).encode()).digest()[:4], "big")
