"""The winners again, with fresh seeds, beside the baselines; the only reader of the test split.

First all is trained with fresh seeds, fitted and tuned, and scored on validation, and the best mean chooses the winner:
one of the study's top configurations, the default fine-tune, or no fine-tuning at all. Points of the front of quality
and speed are trained beside them and cannot win. Only then is the test split opened, and the moment is recorded. Every
run leaves its weights and scores on storage and is not run again.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import ray

from orchestrator.confirm.comparison import Scores, differences, picture_choice, summarize
from orchestrator.confirm.job import ConfirmJob, FrontRun
from orchestrator.confirm.publish import make_pictures, publish_models
from orchestrator.confirm.record import ArmScores, Candidate, ConfirmationRecord, FrontResult, Steps
from orchestrator.confirm.run_record import Interpolation
from orchestrator.confirm.tasks import (
    Start,
    choose_share,
    fit_classical,
    remember_source,
    score_run,
    train_run,
    validate_source,
)
from orchestrator.data.locked_test import Opening, record_choice, recorded_choice
from orchestrator.foundation.vocabulary import CLASSICAL, INTERPOLATED, STEPS
from orchestrator.runtime.progress import teller
from orchestrator.search.pareto_front import confirmed_of, pareto_front
from orchestrator.search.trial_record import TrialRecord
from trainables.loops.finetune import TransferConfiguration

_REMEMBERED = ("zero_shot", "default", *STEPS[1:], INTERPOLATED)
"""Arms that begin with the source model and may forget it."""

_Runs = dict[str, tuple[TransferConfiguration, Start]]
_Key = tuple[str, int]
"""A run's name and seed."""


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
        candidates: What can win; a point with the configuration of one is not trained twice.
        blocks: Residual blocks of the source model.
    """
    names = {candidate.configuration: candidate.name for candidate in candidates}
    points = []
    for record in confirmed_of(pareto_front(records)):
        kept = record.configuration.kept_blocks or blocks
        name = names.get(record.configuration, f"kept-{kept}")
        points.append(FrontRun(kept, record.number, record.configuration, name, record.speed or 0.0))
    return tuple(points)


@ray.remote(num_cpus=0, max_retries=2)
def drive_confirmation(job: ConfirmJob) -> ConfirmationRecord:
    """Confirms one domain, as a driver of its own: trains, chooses, opens the test split, scores, publishes."""
    tuned = {c.name: c.configuration for c in job.candidates if c.configuration is not None}
    model = _model_step(job, tuned)
    features = {f"feature-{i}": c for i, c in enumerate(job.ablation.features)} if job.ablation else {}
    front = {point.name: point.configuration for point in job.front}
    every: _Runs = {name: (configuration, "source") for name, configuration in {**front, **tuned, **model}.items()}
    tasks = _training(job, {**every, "scratch": (job.scratch, "nothing")}, job.seeds)
    tasks |= _training(job, {name: (c, "features") for name, c in features.items()}, job.seeds[:1])
    tasks["zero_shot", 0] = _start(job, validate_source)
    tasks["classical", 0] = _start(job, fit_classical)
    told = _collect(job, tasks, "training and fitting")

    validation = {name: [told[name, seed] for seed in job.seeds] for name in tuned}
    validation["zero_shot"] = [told["zero_shot", 0]]
    winner = recorded_choice(job.opening) or _best(validation)
    feature = _best({name: [told[name, job.seeds[0]]] for name in features}) if features else None
    rest: _Runs = {feature: (features[feature], "features")} if feature else {}
    tasks = _training(job, rest, job.seeds[1:])
    if winner != "zero_shot":
        tasks["share", 0] = _start(job, choose_share, winner)
    interpolation = _collect(job, tasks, "last steps before the test").get(("share", 0))

    record_choice(job.opening, job.test, winner)
    arms = _arms(job, winner, next(iter(model), None), feature, interpolation)
    scores, source = _score(job, arms)
    summary = summarize(scores)
    confirmed = [_front_point(job, point, told, scores, summary) for point in job.front]
    seed = f"-seed{job.seeds[0]}"
    shown = {"bicubic": "bicubic", "zero-shot": "zero_shot", "default": f"default{seed}", "best": arms["best"][0]}
    pictures = ray.get(_start(job, make_pictures, shown, picture_choice(scores)))
    share = interpolation.share if interpolation else 1.0
    ray.get(_start(job, publish_models, winner, share, summary))
    return ConfirmationRecord(
        winner=winner,
        validation=validation,
        opened=Opening.parse(job.opening.read_json()),
        arms=summary,
        differences=differences(scores),
        classical=told["classical", 0],
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
    job: ConfirmJob, point: FrontRun, told: Mapping[_Key, Any], scores: Scores, summary: Mapping[str, ArmScores]
) -> FrontResult:
    """What the confirmation found of one point; None on test where all of its seeds diverged."""
    validation = [told[point.name, seed] for seed in job.seeds]
    return FrontResult(
        kept=point.kept,
        trial=point.trial,
        run=point.name,
        validation_psnr=[value for value in validation if value is not None],
        test=summary.get(point.arm),
        difference=next((d for d in differences(scores, [("best", point.arm)]) if d.metric == "psnr"), None),
    )


def _model_step(job: ConfirmJob, tuned: Mapping[str, TransferConfiguration]) -> dict[str, TransferConfiguration]:
    """Name and configuration of model transfer's runs; a candidate that is the same need not be trained twice."""
    if job.ablation is None:
        return {}
    wanted = job.ablation.model
    return {next((name for name, configuration in tuned.items() if configuration == wanted), "model"): wanted}


def _arms(
    job: ConfirmJob, winner: str, model: str | None, feature: str | None, interpolation: Interpolation | None
) -> dict[str, list[str]]:
    """Each arm's runs. A run may stand for two arms, as when the default fine-tune or the source model wins."""

    def of(name: str) -> list[str]:
        return [name] if name == "zero_shot" else [f"{name}-seed{seed}" for seed in job.seeds]

    arms: dict[str, list[str]] = {name: [name] for name in CLASSICAL if job.classical is not None or name == "bicubic"}
    named = {"zero_shot": "zero_shot", "scratch": "scratch", "default": "default", "feature": feature, "model": model}
    arms |= {arm: of(name) for arm, name in named.items() if name is not None}
    averaged = {INTERPOLATED: of(INTERPOLATED)} if interpolation and interpolation.share < 1 else {}
    return arms | {"best": of(winner)} | averaged | {point.arm: of(point.name) for point in job.front}


def _score(job: ConfirmJob, arms: dict[str, list[str]]) -> tuple[Scores, dict[str, float]]:
    """Scores every arm on the test split, and its mean PSNR in dB on held-out source images where it may forget."""
    ours = dict.fromkeys(chain(*(arms.get(arm, []) for arm in _REMEMBERED)))
    tasks = {("test", name): _start(job, score_run, name) for name in dict.fromkeys(chain(*arms.values()))}
    tasks |= {("source", name): _start(job, remember_source, name) for name in ours}
    told = _collect(job, tasks, "test")
    scores = {arm: [told["test", name] for name in runs if told["test", name]] for arm, runs in arms.items()}
    kept = {arm: [told["source", name] for name in arms.get(arm, [])] for arm in _REMEMBERED}
    finite = {arm: [value for value in values if value is not None] for arm, values in kept.items()}
    return scores, {arm: float(np.mean(values)) for arm, values in finite.items() if values}


def _training(job: ConfirmJob, runs: _Runs, seeds: Sequence[int]) -> dict[_Key, Any]:
    return {
        (name, seed): _start(job, train_run, name, configuration, seed, start)
        for seed in seeds
        for name, (configuration, start) in runs.items()
    }


def _start(job: ConfirmJob, task: Any, *arguments: Any) -> Any:
    return task.options(num_cpus=job.cpus, num_gpus=job.gpus, max_retries=2).remote(job, *arguments)


def _collect(job: ConfirmJob, tasks: Mapping[Any, Any], phase: str) -> dict[Any, Any]:
    """Waits for all tasks and tells how many are done; gives their results by key."""
    tell, pending = teller(job.board, f"confirm {job.domain.domain}"), list(tasks.values())
    tell(0, len(tasks), phase)
    while pending:
        ready, pending = ray.wait(pending, num_returns=1)
        ray.get(ready)
        tell(len(tasks) - len(pending), len(tasks), phase)
    return {key: ray.get(task) for key, task in tasks.items()}


def _best(validation: Mapping[str, Sequence[float | None]]) -> str:
    """The highest mean over seeds, a diverged one counting as the worst; no fine-tuning wins a tie."""

    def mean(name: str) -> float:
        return float(np.mean([-1e9 if value is None else value for value in validation[name]]))

    return max(validation, key=lambda name: (mean(name), name == "zero_shot"))
