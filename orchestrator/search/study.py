"""One domain's study: the space that it samples, its starts, and the Optuna study that its records make."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from orchestrator.experiment.settings import Search
from orchestrator.foundation.storage import Storage
from orchestrator.runtime.progress_updates import ProgressUpdates
from orchestrator.search.network_speed import Shortening
from orchestrator.search.samplers import DIVERGED, NumberedSearch, RepeatableSampler, maximised
from orchestrator.search.starts import Start
from orchestrator.search.trial_record import TrialOrigin, TrialRecord
from orchestrator.training.finetune import DomainJob
from trainables.loops.finetune import TransferConfiguration
from trainables.loops.objective import effective_lambda


@dataclass(frozen=True, slots=True)
class StudyJob:
    """One domain's study.

    Attributes:
        domain: What every trial trains on.
        settings: Sampler, early stopping and resources.
        trials: How many trials the study has when it is whole.
        seed: Seed of every trial's training and start of the sampler's randomness.
        learning_rate: Range, log scale.
        lambda_: Range that λ is sampled from, log scale; None where λ is 0 and not searched.
        lambda_floor: λ below this means exactly 0.
        frozen_depth: Range, both ends included.
        starts: First configurations, with where each comes from.
        records: Folder of this study's trial records.
        scratch: Folder for Ray Tune's own state.
        progress: Where progress is reported.
        shortening: The shortened networks that are tried, with their speeds; None where quality alone is searched.
        known: What trials sampled whose records were found damaged, by number: they are run again as they were.
    """

    domain: DomainJob
    settings: Search
    trials: int
    seed: int
    learning_rate: tuple[float, float]
    lambda_: tuple[float, float] | None
    lambda_floor: float
    frozen_depth: tuple[int, int]
    starts: tuple[Start, ...]
    records: Storage
    scratch: Storage
    progress: ProgressUpdates
    shortening: Shortening | None = None
    known: Mapping[int, Mapping[str, float]] = field(default_factory=dict)

    @property
    def objectives(self) -> tuple[str, ...]:
        """What is maximised: validation PSNR, and the speed of the network where that is searched too."""
        return ("psnr",) if self.shortening is None else ("psnr", "speed")

    def distributions(self) -> dict[str, BaseDistribution]:
        """Exactly the settings that are searched: three, or without λ two; one more where networks are shortened."""
        lambda_ = {} if self.lambda_ is None else {"lambda_": FloatDistribution(*self.lambda_, log=True)}
        return {
            "learning_rate": FloatDistribution(*self.learning_rate, log=True),
            **lambda_,
            "frozen_depth": IntDistribution(*self.frozen_depth),
            **({} if self.shortening is None else {"kept_blocks": IntDistribution(*self.shortening.kept_blocks)}),
        }

    def start_points(self) -> list[dict[str, float]]:
        """The starts as points of the sampled space, moved inside it where a range was narrowed."""
        return [self._inside(start.configuration) for start in self.starts]

    def configuration(self, sampled: Mapping[str, float]) -> TransferConfiguration:
        """What a sampled point means.

        λ below its floor is 0, and a shortened network freezes no more blocks than it can.
        """
        depth, kept = int(sampled["frozen_depth"]), None
        if self.shortening is not None:
            kept_blocks = int(sampled["kept_blocks"])
            depth, kept = min(depth, self.shortening.deepest(kept_blocks)), self.shortening.named(kept_blocks)
        return TransferConfiguration(
            learning_rate=sampled["learning_rate"],
            lambda_=effective_lambda(sampled.get("lambda_", 0.0), self.lambda_floor),
            frozen_depth=depth,
            kept_blocks=kept,
        )

    def origin(self, number: int) -> TrialOrigin:
        """Where a trial's configuration comes from: a start's own origin, or ``sampler``."""
        return self.starts[number].origin if number < len(self.starts) else "sampler"

    def _inside(self, start: TransferConfiguration) -> dict[str, float]:
        lambda_ = {}
        if self.lambda_ is not None:
            wanted = start.lambda_ if start.lambda_ >= self.lambda_floor else self.lambda_[0]
            lambda_ = {"lambda_": _clamp(wanted, self.lambda_)}
        return {
            "learning_rate": _clamp(start.learning_rate, self.learning_rate),
            **lambda_,
            "frozen_depth": int(_clamp(start.frozen_depth, self.frozen_depth)),
            **({} if self.shortening is None else {"kept_blocks": self.shortening.inside(start)}),
        }


def searcher(job: StudyJob, records: Sequence[TrialRecord], missing: Sequence[int]) -> NumberedSearch:
    """Suggests the missing trials of a study that knows the finished ones."""
    return NumberedSearch(
        missing,
        space=job.distributions(),
        **maximised(job.objectives),
        sampler=RepeatableSampler(job.settings.sampler, job.seed, job.settings.startup_trials),
        **study_with(job, records),
    )


def study_with(job: StudyJob, records: Sequence[TrialRecord]) -> dict[str, Any]:
    """An Optuna study that knows the trials there are and the starts still to be tried, as OptunaSearch takes it.

    A diverged trial has the finite score that its record gives it, and a mark by which the sampler takes it for worse
    than every finished one. A stopped one is a failed trial, which no sampler
    learns from: its last score is of another fidelity than the final ones.
    """
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(
        storage=storage, study_name=job.domain.domain, directions=["maximize"] * len(job.objectives)
    )
    for record in records:
        stopped = record.status == "stopped"
        scores = {"psnr": record.objective, "speed": record.speed}
        study.add_trial(
            create_trial(
                state=TrialState.FAIL if stopped else TrialState.COMPLETE,
                params=record.sampled,
                distributions=job.distributions(),
                user_attrs={DIVERGED: True} if record.status == "diverged" else {},
                values=None if stopped else [scores[name] or 0.0 for name in job.objectives],
            )
        )
    tried = {record.number for record in records}
    points = dict(job.known) | dict(enumerate(job.start_points()))
    for number in (number for number in range(job.trials) if number not in tried):
        if number not in points:
            break  # suggestions are handed out in the order of the missing numbers
        study.enqueue_trial(dict(points[number]))
    return {"storage": storage, "study_name": job.domain.domain}


def _clamp(value: float, bounds: tuple[float, float]) -> float:
    return min(max(value, bounds[0]), bounds[1])
