"""One domain's study: its search space, its starts, and an Optuna study made of its records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from orchestrator.experiment.placement import Placement
from orchestrator.experiment.settings import Search
from orchestrator.foundation.storage import Storage
from orchestrator.runtime.progress_updates import ProgressUpdates
from orchestrator.search.divergence import PENALTY_DB
from orchestrator.search.guide import StudyGuide
from orchestrator.search.network_speed import Shortening
from orchestrator.search.optuna_export import LiveOptunaLog
from orchestrator.search.region import Region
from orchestrator.search.samplers import DIVERGED, EXCESS, NumberedSearch, RepeatableSampler, maximised, seed_of_study
from orchestrator.search.starts import Start
from orchestrator.search.trial_record import TrialOrigin, TrialRecord
from orchestrator.training.finetune import DomainJob
from trainables.loops.objective import effective_lambda
from trainables.loops.settings import TransferConfiguration


@dataclass(frozen=True, slots=True)
class StudyJob:
    """One domain's study.

    Attributes:
        domain: Training data, source model and budget of every trial.
        settings: Sampler, early stopping and resources.
        trials: Number of trials of the finished study.
        seed: Seed of every trial's training and start of the sampler's randomness.
        learning_rate: Range, log scale.
        lambda_: Range of λ, log scale; None if λ is 0 and not searched.
        lambda_floor: λ below this means exactly 0.
        frozen_depth: Range, both ends included.
        starts: First configurations, with their origins.
        records: Folder of this study's trial records.
        scratch: Folder for Ray Tune's own state.
        progress: Channel of progress.
        shortening: The shortened networks that are tried, with their speeds; None if quality is the only objective.
        known: Sampled points, by number, of trials whose records are damaged: they are run again with these.
        home: Folder of the experiment.
        siblings: Domains whose best configurations are tried as soon as their searches have finished.
        journal: File for optuna-dashboard, written as trials end; None for none.
        placement: Kind of node that trials run on.
        ends_early: Whether the study ends before ``trials`` if the next one is expected to gain too little.
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
    home: Storage = field(default_factory=lambda: Storage("/nowhere"))
    siblings: tuple[str, ...] = ()
    journal: Storage | None = None
    ends_early: bool = False
    placement: Placement = field(default_factory=Placement)

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the objectives, which are maximised: validation PSNR, and the network's speed if it is searched."""
        return ("psnr",) if self.shortening is None else ("psnr", "speed")

    def distributions(self) -> dict[str, BaseDistribution]:
        """The searched settings: learning rate, frozen depth, λ if it is searched, and kept blocks if they are."""
        lambda_ = {} if self.lambda_ is None else {"lambda_": FloatDistribution(*self.lambda_, log=True)}
        return {
            "learning_rate": FloatDistribution(*self.learning_rate, log=True),
            **lambda_,
            "frozen_depth": IntDistribution(*self.frozen_depth),
            **({} if self.shortening is None else {"kept_blocks": IntDistribution(*self.shortening.kept_blocks)}),
        }

    def start_points(self) -> list[dict[str, float]]:
        """The starts as points of the search space, clamped to its ranges."""
        return [self.point(start.configuration) for start in self.starts]

    def configuration(self, sampled: Mapping[str, float]) -> TransferConfiguration:
        """Configuration of a sampled point.

        λ below its floor becomes 0, and the frozen depth is limited to that of the shortened network.
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
        """Origin of a trial's configuration: that of a start, or ``sampler``."""
        return self.starts[number].origin if number < len(self.starts) else "sampler"

    @property
    def region(self) -> Region | None:
        """Region that trials are suggested from; with two objectives there is no single best trial to stay near."""
        return Region(self.lambda_floor) if len(self.objectives) == 1 else None

    def point(self, start: TransferConfiguration) -> dict[str, float]:
        """A configuration as a point of the search space, clamped to its ranges."""
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


def excess_of(job: StudyJob, record: TrialRecord) -> float | None:
    """Loss of source PSNR above the limit in dB, as a sampler learns it; None if there is no limit, or no score.

    A diverged trial has no source PSNR; it counts as far from feasible.
    """
    if job.settings.keep_source is None or record.status == "stopped":
        return None
    return record.source.excess if record.source else PENALTY_DB


def searcher(job: StudyJob, records: Sequence[TrialRecord], missing: Sequence[int]) -> NumberedSearch:
    """A searcher that suggests the missing trials of a study, given the finished ones."""
    return NumberedSearch(
        missing,
        space=job.distributions(),
        **maximised(job.objectives),
        guide=StudyGuide(job),
        ended=LiveOptunaLog(job, job.journal, records).update if job.journal else None,
        sampler=RepeatableSampler(
            job.settings.sampler,
            seed_of_study(job.seed, job.domain.domain),
            job.settings.startup_trials,
            job.region,
        ),
        **study_with(job, records),
    )


def study_with(job: StudyJob, records: Sequence[TrialRecord]) -> dict[str, object]:
    """An Optuna study with the existing trials and the starts that are still to be tried, as arguments of OptunaSearch.

    A diverged trial has the finite score of its record, and a mark by which the sampler treats it as worse than every
    finished one. A stopped trial counts as failed, and no sampler learns from it: its last score is not comparable to
    final ones.
    """
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(
        storage=storage, study_name=job.domain.domain, directions=["maximize"] * len(job.objectives)
    )
    for record in records:
        stopped, excess = record.status == "stopped", excess_of(job, record)
        scores = {"psnr": record.objective, "speed": record.speed}
        study.add_trial(
            create_trial(
                state=TrialState.FAIL if stopped else TrialState.COMPLETE,
                params=record.sampled,
                distributions=job.distributions(),
                user_attrs={DIVERGED: True} if record.status == "diverged" else {},
                values=None if stopped else [scores[name] or 0.0 for name in job.objectives],
                constraints=None if excess is None else {EXCESS: excess},
            )
        )
    tried = {record.number for record in records}
    points = dict(job.known) | dict(enumerate(job.start_points()))
    for number in (number for number in range(job.trials) if number not in tried):
        if number not in points:
            break  # suggestions are made in the order of the missing numbers
        study.enqueue_trial(dict(points[number]))
    return {"storage": storage, "study_name": job.domain.domain}


def _clamp(value: float, bounds: tuple[float, float]) -> float:
    return min(max(value, bounds[0]), bounds[1])
