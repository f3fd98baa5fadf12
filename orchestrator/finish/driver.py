"""A domain's finished model: how long to train and whether to average is found on validation, and then it is trained.

The winner's configuration is trained on the training split for twice the confirmation's steps, four times, and so on,
each with a schedule of its own, until a doubling gains less than `finish.least_gain` on validation or the longest
length is reached. Then it is trained for the chosen length on training and validation images together, where nothing
can be chosen any more, and scored once on the locked test split. The scores choose nothing.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from orchestrator.confirm.comparison import Scores, differences, summarize
from orchestrator.confirm.job import ConfirmJob
from orchestrator.confirm.run_record import mean_of
from orchestrator.confirm.submission import Tasks, task_name
from orchestrator.confirm.tasks import score_on_source, score_run
from orchestrator.data.locked_test import Opening, record_choice
from orchestrator.finish.job import ALL_SPLITS, FinishJob, run_name
from orchestrator.finish.record import DECISION, FINISHED, Decision, FinishRecord, Length
from orchestrator.finish.tasks import assemble, compare_averaging, copy_confirmed, mean_source_loss, publish
from orchestrator.foundation.logs import log_context
from orchestrator.foundation.vocabulary import ZERO_SHOT
from orchestrator.runtime.task_runner import Needs, TaskRunner, result_of, results
from trainables.loops.settings import TransferConfiguration

log = logging.getLogger(__name__)

_COMPARED = (
    ("finished", "best"),
    ("finished", "zero_shot"),
    ("finished", "default"),
    ("finished", "bicubic"),
    ("best", "finished"),
)
"""Pairs of arm and baseline; the last one is the difference that a table of the best arm shows."""


def drive_finish(job: FinishJob, runner: TaskRunner) -> FinishRecord:
    """Trains, scores and publishes one domain's finished model."""
    with log_context(stage="finish", domain=job.confirmation.domain.domain):
        return _Finishing(job, runner).run()


class _Finishing:
    """Steps of one domain's finished model; each task stores its result and is not done again."""

    def __init__(self, job: FinishJob, runner: TaskRunner) -> None:
        self._job, self._runner = job, runner
        self._needs = Needs(job.confirmation.cpus, job.confirmation.gpus)

    def run(self) -> FinishRecord:
        """Decides on validation, trains, opens the test split, scores and publishes."""
        job, configuration = self._job, self._job.configuration
        if configuration is None:
            self._result(copy_confirmed, job)
            return FinishRecord(winner=job.winner)
        decision = self._decision(configuration)
        seeds = job.seeds if decision.averages else job.seeds[:1]
        full = job.training(decision.steps, ALL_SPLITS)
        self._train(full, run_name(decision.steps, ALL_SPLITS), configuration, seeds)
        assembled = self._result(assemble, job, decision)
        record_choice(job.opening, full.test, decision.sentence(), by="finished model")
        scores, source = self._score(full)
        test = summarize(scores)[FINISHED]
        field_error: float = self._result(publish, job, decision, assembled, test)
        return FinishRecord(
            winner=job.winner,
            decision=decision,
            seeds=assembled[0],
            trained_on=list(assembled[1]),
            opened=Opening.parse(job.opening.read_json()),
            test=test,
            differences=differences(scores, _COMPARED),
            source_psnr=source,
            runs=f"finish/{full.domain.domain}/{job.runs.uri.rpartition('/')[2]}",
            constant_fields=field_error,
        )

    def _decision(self, configuration: TransferConfiguration) -> Decision:
        """The decision on record, or a new one."""
        job, place = self._job, self._job.runs.child(DECISION)
        found = Decision.read(place)
        if found is not None and (found.winner, found.configuration) == (job.winner, configuration):
            return found
        lengths = self._lengths(configuration)
        rises = len(lengths) > 1 and self._is_worth_it(lengths[-2], lengths[-1])
        steps = lengths[-1 if rises or len(lengths) == 1 else -2].steps
        decision = Decision(
            winner=job.winner,
            configuration=configuration,
            lengths=lengths,
            steps=steps,
            still_rises=rises,
            averaging=self._result(compare_averaging, job, steps) if len(job.seeds) > 1 else None,
        )
        log.info("%s", decision.sentence())
        decision.write(place)
        return decision

    def _lengths(self, configuration: TransferConfiguration) -> list[Length]:
        """Trains for ever longer until a doubling gains too little."""
        job = self._job
        first = job.confirmed.validation[job.base][: len(job.seeds)]
        lengths = [Length(steps=job.base_steps, validation_psnr=first)]
        for _ in range(job.settings.doublings):
            steps = 2 * lengths[-1].steps
            scores = self._train(job.training(steps), run_name(steps), configuration, job.seeds)
            found = Length(steps=steps, validation_psnr=[scores[seed] for seed in job.seeds])
            if job.keep_source is not None and None not in found.validation_psnr:
                found = found.model_copy(update={"source_loss": self._result(mean_source_loss, job, steps)})
            lengths.append(found)
            if not self._is_worth_it(*lengths[-2:]):
                break
        return lengths

    def _is_worth_it(self, before: Length, after: Length) -> bool:
        """True if a longer training gains enough and loses no more of the source than is allowed."""
        limit, lost = self._job.keep_source, after.source_loss
        held = limit is None or (lost is not None and lost <= limit)
        return held and _gain(before, after) >= self._job.settings.least_gain

    def _train(
        self, job: ConfirmJob, name: str, configuration: TransferConfiguration, seeds: Sequence[int]
    ) -> dict[int, float | None]:
        """Trains with every seed; returns validation PSNR in dB by seed."""
        tasks = Tasks(job, self._runner).training({name: (configuration, self._job.start)}, seeds)
        return {seed: mean_of(images) if images else None for (_, seed), images in results(self._runner, tasks)}

    def _score(self, full: ConfirmJob) -> tuple[Scores, float | None]:
        """Scores of the finished model and of the confirmed arms on the test split, and the former's on the source."""
        confirmation = self._job.confirmation
        arms: dict[str, list[str]] = {
            "best": self._job.best_runs,
            "default": [f"default-seed{seed}" for seed in confirmation.seeds],
            "zero_shot": [ZERO_SHOT],
            "bicubic": ["bicubic"],
        }
        wanted = {(FINISHED, FINISHED): full}
        wanted |= {(arm, run): confirmation for arm, runs in arms.items() for run in runs}
        tasks = {key: Tasks(job, self._runner).submit(score_run, key[1]) for key, job in wanted.items()}
        found: dict[tuple[str, str], Any] = dict(results(self._runner, tasks))
        scores = {arm: [found[key] for key in wanted if key[0] == arm and found[key]] for arm in (FINISHED, *arms)}
        return scores, Tasks(full, self._runner).result(score_on_source, FINISHED)

    def _result(self, function: Callable[..., Any], *arguments: Any) -> Any:
        name = task_name(f"finish {self._job.confirmation.domain.domain}", function, arguments)
        return result_of(self._runner, self._runner.submit(function, *arguments, needs=self._needs, name=name))


def _gain(before: Length, after: Length) -> float:
    """Gain of a longer training in mean validation PSNR; a diverged seed counts as the worst."""

    def mean(length: Length) -> float:
        return float(np.mean([-1e9 if value is None else value for value in length.validation_psnr]))

    return mean(after) - mean(before)
