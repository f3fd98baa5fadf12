"""Confirmation of a study's best configurations with fresh seeds, beside the baselines; it alone reads the test split.

First everything is trained with fresh seeds and scored on validation, and the baselines are fitted and tuned: the
study's top configurations, the default fine-tune, the steps of transfer, and averages of their weights. Of these and no
fine-tuning the answer is chosen on validation (:mod:`orchestrator.confirm.answer`). Points of the front of quality and
speed are trained beside them and cannot be the answer. Only then is the test split opened, and the time is recorded.
Every run stores its weights and scores and is not run again.
"""

from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np

from orchestrator.confirm.answer import Contender, choose
from orchestrator.confirm.comparison import Scores, differences, picture_choice, summarize
from orchestrator.confirm.contenders import Planned, contend, planned
from orchestrator.confirm.job import ConfirmJob, FrontRun, soup_of
from orchestrator.confirm.publish import make_pictures, publish_models
from orchestrator.confirm.record import ArmScores, Choice, ConfirmationRecord, FrontResult, Steps
from orchestrator.confirm.run_record import mean_of
from orchestrator.confirm.source_limit import with_source_loss, within_limit
from orchestrator.confirm.submission import RunKey, Runs, Tasks
from orchestrator.confirm.tasks import fit_classical, score_on_source, score_run, validate_source
from orchestrator.data.locked_test import Opening, record_choice, recorded_choice
from orchestrator.foundation.logs import log_context
from orchestrator.foundation.vocabulary import BEST_MEAN, CLASSICAL, INTERPOLATED, SOUP, STEPS, ZERO_SHOT
from orchestrator.runtime.task_runner import TaskRunner

_SCORED_ON_SOURCE = (ZERO_SHOT, "default", *STEPS[1:], SOUP, INTERPOLATED)
"""Arms that start from the source model and may forget what it has learnt; they are scored on source images too."""


def drive_confirmation(job: ConfirmJob, runner: TaskRunner) -> ConfirmationRecord:
    """Confirms one domain: trains, chooses, opens the test split, scores, publishes."""
    with log_context(stage="confirm", domain=job.domain.domain):
        return _confirm(job, Tasks(job, runner))


def _confirm(job: ConfirmJob, tasks: Tasks) -> ConfirmationRecord:
    plan = planned(job)
    found = _train(job, tasks, plan)
    contenders, interpolation = contend(tasks, job, plan, found)
    contenders = with_source_loss(tasks, job, contenders)
    choice, by_name = choose(within_limit(job, contenders)), {contender.name: contender for contender in contenders}
    answer = by_name[recorded_choice(job.opening) or choice.answer]
    record_choice(job.opening, job.test, answer.name)

    arms = _arms(job, plan, by_name, answer, choice)
    scores, source = _score(tasks, arms)
    summary = summarize(scores)
    shown = {"bicubic": "bicubic", "zero-shot": ZERO_SHOT, "default": arms["default"][0], "best": arms["best"][0]}
    pictures = tasks.result(make_pictures, shown, picture_choice(scores))
    averaged, share = by_name.get(INTERPOLATED), interpolation.share if interpolation else 1.0
    field_error: float = tasks.result(
        publish_models, answer.candidate, answer.runs[0], averaged and averaged.candidate, share, summary
    )
    return ConfirmationRecord(
        winner=answer.name,
        validation={contender.name: contender.means for contender in contenders},
        opened=Opening.parse(job.opening.read_json()),
        arms=summary,
        differences=differences(scores),
        classical=found["classical", 0],
        steps=_steps(plan, contenders),
        source_psnr=source,
        interpolation=interpolation,
        front=[_front_point(job, point, found, scores, summary) for point in job.front],
        pictures=pictures,
        candidates=[c.candidate.model_copy(update={"validation_psnr": c.means}) for c in contenders],
        runs=f"confirm/{job.domain.domain}/{job.runs.uri.rpartition('/')[2]}",
        choice=choice if choice.answer == answer.name else None,  # an earlier version may have chosen otherwise
        constant_fields=field_error,
    )


def _train(job: ConfirmJob, tasks: Tasks, plan: Planned) -> dict[RunKey, Any]:
    """Trains every run but the further seeds of feature transfer, and fits the baselines."""
    front: Runs = {point.name: (point.configuration, "source") for point in job.front}
    work = tasks.training({**front, **plan.runs(), "scratch": (job.scratch, "nothing")}, job.seeds)
    work |= tasks.training(plan.feature_runs(), job.seeds[:1])
    work[ZERO_SHOT, 0] = tasks.submit(validate_source)
    work["classical", 0] = tasks.submit(fit_classical)
    return tasks.collect(work, "training and fitting")


def _steps(plan: Planned, contenders: list[Contender]) -> Steps:
    """Configurations of feature transfer and model transfer."""
    feature = (c.candidate.configuration for c in contenders if c.candidate in plan.features)
    model = (c.configuration for c in plan.tuned if c.name == plan.model)
    return Steps(feature=next(feature, None), model=next(model, None))


def _front_point(
    job: ConfirmJob, point: FrontRun, results: Mapping[RunKey, Any], scores: Scores, summary: Mapping[str, ArmScores]
) -> FrontResult:
    """Result of one point of the front; without test scores if all of its seeds diverged."""
    validation = [results[point.name, seed] for seed in job.seeds]
    return FrontResult(
        kept=point.kept,
        trial=point.trial,
        run=point.name,
        validation_psnr=[mean_of(images) for images in validation if images],
        test=summary.get(point.arm),
        difference=next((d for d in differences(scores, [("best", point.arm)]) if d.metric == "psnr"), None),
    )


def _arms(
    job: ConfirmJob, plan: Planned, contenders: Mapping[str, Contender], answer: Contender, choice: Choice
) -> dict[str, list[str]]:
    """Names of each arm's runs. Two arms may share runs, as when the default fine-tune or the source model wins."""
    arms: dict[str, list[str]] = {name: [name] for name in CLASSICAL if job.classical is not None or name == "bicubic"}
    feature = next((c.name for c in contenders.values() if c.candidate in plan.features), None)
    named = {
        ZERO_SHOT: ZERO_SHOT,
        "default": "default",
        "feature": feature,
        "model": plan.model,
        "best": answer.name,
        SOUP: soup_of(answer.candidate.of or answer.name),
        INTERPOLATED: INTERPOLATED,
        BEST_MEAN: choice.best_mean if choice.best_mean != answer.name else None,
    }
    arms |= {arm: list(contenders[name].runs) for arm, name in named.items() if name is not None and name in contenders}
    arms["scratch"] = [f"scratch-seed{seed}" for seed in job.seeds]
    return arms | {point.arm: [f"{point.name}-seed{seed}" for seed in job.seeds] for point in job.front}


def _score(tasks: Tasks, arms: dict[str, list[str]]) -> tuple[Scores, dict[str, float]]:
    """Scores on the test split by arm, and mean PSNR in dB on held-out source images of arms that may forget them."""
    ours = dict.fromkeys(chain(*(arms.get(arm, []) for arm in _SCORED_ON_SOURCE)))
    work = {("test", name): tasks.submit(score_run, name) for name in dict.fromkeys(chain(*arms.values()))}
    work |= {("source", name): tasks.submit(score_on_source, name) for name in ours}
    results = tasks.collect(work, "test")
    scores = {arm: [results["test", name] for name in runs if results["test", name]] for arm, runs in arms.items()}
    kept = {arm: [results["source", name] for name in arms.get(arm, [])] for arm in _SCORED_ON_SOURCE}
    finite = {arm: [value for value in values if value is not None] for arm, values in kept.items()}
    return scores, {arm: float(np.mean(values)) for arm, values in finite.items() if values}
