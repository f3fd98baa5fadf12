"""Confirmation of a study's best configurations with fresh seeds, beside the baselines; it alone reads the test split.

First all candidates are trained with fresh seeds and scored on validation, and the baselines are fitted and tuned. The
best mean on validation decides the winner: one of the study's top configurations, the default fine-tune, or no
fine-tuning at all. Points of the front of quality and speed are trained beside them and cannot win. Only then is the
test split opened, and the time is recorded. Every run stores its weights and scores and is not run again.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from orchestrator.confirm.comparison import Scores, differences, picture_choice, summarize
from orchestrator.confirm.job import ConfirmJob, FrontRun
from orchestrator.confirm.publish import make_pictures, publish_models
from orchestrator.confirm.record import ArmScores, Candidate, ConfirmationRecord, FrontResult, Steps
from orchestrator.confirm.run_record import Interpolation
from orchestrator.confirm.tasks import (
    Start,
    choose_share,
    fit_classical,
    score_on_source,
    score_run,
    train_run,
    validate_source,
)
from orchestrator.data.locked_test import Opening, record_choice, recorded_choice
from orchestrator.foundation.logs import log_context
from orchestrator.foundation.vocabulary import CLASSICAL, INTERPOLATED, STEPS
from orchestrator.runtime.progress_updates import reporter
from orchestrator.runtime.task_runner import Needs, Task, TaskRunner, result_of, results
from orchestrator.search.pareto_front import confirmed_of, pareto_front
from orchestrator.search.trial_record import TrialRecord
from trainables.loops.finetune import TransferConfiguration

log = logging.getLogger(__name__)

_SCORED_ON_SOURCE = ("zero_shot", "default", *STEPS[1:], INTERPOLATED)
"""Arms that start from the source model and may forget what it has learnt; they are scored on source images too."""

_Runs = dict[str, tuple[TransferConfiguration, Start]]
_Key = tuple[str, int]
"""A run's name and seed."""


class _Tasks:
    """Submits a confirmation's tasks, each with the CPUs and GPUs of a run."""

    def __init__(self, job: ConfirmJob, runner: TaskRunner) -> None:
        self._job, self._runner, self._needs = job, runner, Needs(job.cpus, job.gpus)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Task:
        """Submits a function of the job."""
        return self._runner.submit(function, self._job, *arguments, needs=self._needs)

    def training(self, runs: _Runs, seeds: Sequence[int]) -> dict[Any, Task]:
        """Submits every run with every seed."""
        return {
            (name, seed): self.submit(train_run, name, configuration, seed, start)
            for seed in seeds
            for name, (configuration, start) in runs.items()
        }

    def collect(self, tasks: Mapping[Any, Task], phase: str) -> dict[Any, Any]:
        """Waits for all tasks, reporting how many have ended; returns their results by key."""
        report = reporter(self._job.progress, f"confirm {self._job.domain.domain}")
        log.info("%s: %d tasks", phase, len(tasks))
        report(0, len(tasks), phase)
        found: dict[Any, Any] = {}
        for key, value in results(self._runner, tasks):
            found[key] = value
            report(len(found), len(tasks), phase)
        return found

    def result(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Submits a function of the job and waits for it."""
        return result_of(self._runner, self.submit(function, *arguments))


def candidates_of(records: Sequence[TrialRecord], top: int, default: TransferConfiguration) -> tuple[Candidate, ...]:
    """The study's ``top`` best configurations, the default fine-tune and no fine-tuning."""
    finished = [(record, record.psnr) for record in records if record.psnr is not None]
    by_configuration: dict[TransferConfiguration, tuple[int, float]] = {}
    for record, psnr in sorted(finished, key=lambda entry: -entry[1]):
        by_configuration.setdefault(record.configuration, (record.number, psnr))
    untuned = _candidate("default", "default fine-tune", default, None)
    chosen: list[Candidate] = []
    for configuration, (number, psnr) in list(by_configuration.items())[:top]:
        if configuration == default:
            untuned = _candidate("default", "default fine-tune", default, psnr)
        else:
            chosen.append(_candidate(f"trial-{number}", f"trial {number}", configuration, psnr))
    return (*chosen, untuned, _candidate("zero_shot", "source model as it is", None, None))


def _candidate(
    name: str, label: str, configuration: TransferConfiguration | None, search_psnr: float | None
) -> Candidate:
    return Candidate(name=name, label=label, configuration=configuration, validation_psnr=[], search_psnr=search_psnr)


def front_of(records: Sequence[TrialRecord], candidates: Sequence[Candidate], blocks: int) -> tuple[FrontRun, ...]:
    """The points of a study's front that are confirmed, the best by validation PSNR first.

    Args:
        records: The study's trials.
        candidates: The candidates; a point with the configuration of one is not trained twice.
        blocks: Residual blocks of the source model.
    """
    names = {candidate.configuration: candidate.name for candidate in candidates}
    points = []
    for record in confirmed_of(pareto_front(records)):
        kept = record.configuration.kept_blocks or blocks
        name = names.get(record.configuration, f"kept-{kept}")
        points.append(FrontRun(kept, record.number, record.configuration, name, record.speed or 0.0))
    return tuple(points)


def drive_confirmation(job: ConfirmJob, runner: TaskRunner) -> ConfirmationRecord:
    """Confirms one domain: trains, chooses, opens the test split, scores, publishes."""
    with log_context(stage="confirm", domain=job.domain.domain):
        return _confirm(job, runner)


def _confirm(job: ConfirmJob, runner: TaskRunner) -> ConfirmationRecord:
    tasks_of = _Tasks(job, runner)
    tuned = {c.name: c.configuration for c in job.candidates if c.configuration is not None}
    model = _model_step(job, tuned)
    features = {f"feature-{i}": c for i, c in enumerate(job.ablation.features)} if job.ablation else {}
    front = {point.name: point.configuration for point in job.front}
    every: _Runs = {name: (configuration, "source") for name, configuration in {**front, **tuned, **model}.items()}
    tasks = tasks_of.training({**every, "scratch": (job.scratch, "nothing")}, job.seeds)
    tasks |= tasks_of.training({name: (c, "features") for name, c in features.items()}, job.seeds[:1])
    tasks["zero_shot", 0] = tasks_of.submit(validate_source)
    tasks["classical", 0] = tasks_of.submit(fit_classical)
    results = tasks_of.collect(tasks, "training and fitting")

    validation = {name: [results[name, seed] for seed in job.seeds] for name in tuned}
    validation["zero_shot"] = [results["zero_shot", 0]]
    winner = recorded_choice(job.opening) or _best(validation)
    feature = _best({name: [results[name, job.seeds[0]]] for name in features}) if features else None
    rest: _Runs = {feature: (features[feature], "features")} if feature else {}
    tasks = tasks_of.training(rest, job.seeds[1:])
    if winner != "zero_shot":
        tasks["share", 0] = tasks_of.submit(choose_share, winner)
    interpolation = tasks_of.collect(tasks, "last steps before the test").get(("share", 0))

    record_choice(job.opening, job.test, winner)
    arms = _arms(job, winner, next(iter(model), None), feature, interpolation)
    scores, source = _score(tasks_of, arms)
    summary = summarize(scores)
    confirmed = [_front_point(job, point, results, scores, summary) for point in job.front]
    seed = f"-seed{job.seeds[0]}"
    shown = {"bicubic": "bicubic", "zero-shot": "zero_shot", "default": f"default{seed}", "best": arms["best"][0]}
    pictures = tasks_of.result(make_pictures, shown, picture_choice(scores))
    share = interpolation.share if interpolation else 1.0
    tasks_of.result(publish_models, winner, share, summary)
    return ConfirmationRecord(
        winner=winner,
        validation=validation,
        opened=Opening.parse(job.opening.read_json()),
        arms=summary,
        differences=differences(scores),
        classical=results["classical", 0],
        steps=Steps(
            feature=features[feature] if feature else None,
            model=job.ablation.model if job.ablation else None,
        ),
        source_psnr=source,
        interpolation=interpolation,
        front=confirmed,
        pictures=pictures,
        candidates=[c.model_copy(update={"validation_psnr": validation[c.name]}) for c in job.candidates],
        runs=f"confirm/{job.domain.domain}/{job.runs.uri.rpartition('/')[2]}",
    )


def _front_point(
    job: ConfirmJob, point: FrontRun, results: Mapping[_Key, Any], scores: Scores, summary: Mapping[str, ArmScores]
) -> FrontResult:
    """Result of one point of the front; without test scores if all of its seeds diverged."""
    validation = [results[point.name, seed] for seed in job.seeds]
    return FrontResult(
        kept=point.kept,
        trial=point.trial,
        run=point.name,
        validation_psnr=[value for value in validation if value is not None],
        test=summary.get(point.arm),
        difference=next((d for d in differences(scores, [("best", point.arm)]) if d.metric == "psnr"), None),
    )


def _model_step(job: ConfirmJob, tuned: Mapping[str, TransferConfiguration]) -> dict[str, TransferConfiguration]:
    """Name and configuration of model transfer's runs; those of a candidate with the same configuration are reused."""
    if job.ablation is None:
        return {}
    wanted = job.ablation.model
    return {next((name for name, configuration in tuned.items() if configuration == wanted), "model"): wanted}


def _arms(
    job: ConfirmJob, winner: str, model: str | None, feature: str | None, interpolation: Interpolation | None
) -> dict[str, list[str]]:
    """Names of each arm's runs. Two arms may share runs, as when the default fine-tune or the source model wins."""

    def of(name: str) -> list[str]:
        return [name] if name == "zero_shot" else [f"{name}-seed{seed}" for seed in job.seeds]

    arms: dict[str, list[str]] = {name: [name] for name in CLASSICAL if job.classical is not None or name == "bicubic"}
    named = {"zero_shot": "zero_shot", "scratch": "scratch", "default": "default", "feature": feature, "model": model}
    arms |= {arm: of(name) for arm, name in named.items() if name is not None}
    averaged = {INTERPOLATED: of(INTERPOLATED)} if interpolation and interpolation.share < 1 else {}
    return arms | {"best": of(winner)} | averaged | {point.arm: of(point.name) for point in job.front}


def _score(tasks_of: _Tasks, arms: dict[str, list[str]]) -> tuple[Scores, dict[str, float]]:
    """Scores on the test split by arm, and mean PSNR in dB on held-out source images of arms that may forget them."""
    ours = dict.fromkeys(chain(*(arms.get(arm, []) for arm in _SCORED_ON_SOURCE)))
    tasks = {("test", name): tasks_of.submit(score_run, name) for name in dict.fromkeys(chain(*arms.values()))}
    tasks |= {("source", name): tasks_of.submit(score_on_source, name) for name in ours}
    results = tasks_of.collect(tasks, "test")
    scores = {arm: [results["test", name] for name in runs if results["test", name]] for arm, runs in arms.items()}
    kept = {arm: [results["source", name] for name in arms.get(arm, [])] for arm in _SCORED_ON_SOURCE}
    finite = {arm: [value for value in values if value is not None] for arm, values in kept.items()}
    return scores, {arm: float(np.mean(values)) for arm, values in finite.items() if values}


def _best(validation: Mapping[str, Sequence[float | None]]) -> str:
    """Name with the highest mean over seeds; a diverged seed counts as the worst, and zero-shot wins a tie."""

    def mean(name: str) -> float:
        return float(np.mean([-1e9 if value is None else value for value in validation[name]]))

    return max(validation, key=lambda name: (mean(name), name == "zero_shot"))
