"""Trials on Ray Tune: as many at once as the study allows, in actors that are reused.

A trial that is lost with its process or node is run again by Tune before the searcher learns of it, so that the trials
after it are the same as without the loss. One that fails by an error of its own ends the round.
"""

import logging
import time
from typing import Any

from ray import tune
from ray.tune.execution import class_cache
from ray.tune.experiment import Trial

from orchestrator.foundation.logs import log_context, start_from_environment
from orchestrator.foundation.quantities import resources
from orchestrator.runtime.progress_updates import log_line, reporter
from orchestrator.search.samplers import FAILED
from orchestrator.search.study import StudyJob, searcher
from orchestrator.search.trial import run_trial
from orchestrator.search.trial_record import TrialRecord
from trainables.errors import reason_of

log = logging.getLogger(__name__)

_LOSSES = 10
"""Losses of one trial in a round; more of them are its own fault, such as by its memory."""


def run_on_tune(job: StudyJob, records: list[TrialRecord], missing: list[int], round_number: int) -> str:
    """Runs the missing trials; returns the reason of the last failure."""
    keep_keys_to_ourselves()
    # Tune has one registry of trainables for the whole cluster: names must differ between domains.
    name = f"finetune-{job.domain.domain}-{job.records.uri.rpartition('-')[2]}"
    trainable = tune.with_resources(tune.with_parameters(_run_and_report, job=job), resources_of(job))
    tune.register_trainable(name, trainable)
    search = searcher(job, records, missing)
    tuner = tune.Tuner(
        name,
        tune_config=tune.TuneConfig(
            search_alg=search,
            num_samples=len(missing),
            max_concurrent_trials=job.settings.concurrent_trials,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=f"{time.time_ns()}-{round_number}",
            storage_path=job.scratch.path,
            storage_filesystem=job.scratch.filesystem,
            failure_config=tune.FailureConfig(max_failures=_LOSSES),
            callbacks=[_LostTrials(job)],
            verbose=0,
        ),
    )
    found = tuner.fit()
    metrics = [found[index].metrics or {} for index in range(len(found))]
    reasons = [str(ended[FAILED]) for ended in metrics if FAILED in ended]
    reasons += [str(error).strip().splitlines()[-1] for error in found.errors]
    return reasons[-1] if reasons else "no error was reported"


def resources_of(job: StudyJob) -> tune.PlacementGroupFactory:
    """Resources of each trial, on the kind of node that the experiment asks for."""
    placement, settings = job.placement, job.settings
    bundle = placement.bundle(settings.cpus_per_trial, settings.gpus_per_trial)
    selectors: dict[str, Any] = {"bundle_label_selector": [dict(placement.labels)]} if placement.labels else {}
    return tune.PlacementGroupFactory([bundle], **selectors)


class _LostTrials(tune.Callback):
    """Logs which trials are lost, and what they wait for before they are run again."""

    def __init__(self, job: StudyJob) -> None:
        self._job = job

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial was lost with its actor."""
        job, number = self._job, trial.config["number"]
        title, settings = f"search {job.domain.domain}", job.settings
        next_ones = "before the next one is chosen" if settings.concurrent_trials == 1 else "beside the others"
        log_line(
            job.progress,
            f"{title}: trial {number} was lost with its process or node; it is run again {next_ones}",
        )
        waits = f"trial {number}: lost, waits for {resources(settings.cpus_per_trial, settings.gpus_per_trial)}"
        reporter(job.progress, title)(number, job.trials, waits)


def _run_and_report(config: dict[str, Any], job: StudyJob) -> None:
    start_from_environment()
    try:
        result = run_trial(config, job)
    except Exception as error:  # Tune itself would run it again at once, as if it had been lost
        with log_context(stage="search", domain=job.domain.domain, trial=config["number"]):
            log.info("failed", exc_info=error)
        result = dict.fromkeys(job.objectives, 0.0) | {FAILED: reason_of(error)}
    tune.report(result)


def keep_keys_to_ourselves() -> None:
    """Keeps AWS keys out of the settings of trials, where Ray's command lines and logs would show them."""
    names = class_cache.ENV_VARS_TO_PROPAGATE
    class_cache.ENV_VARS_TO_PROPAGATE = {name for name in names if not name.startswith("AWS_")}
