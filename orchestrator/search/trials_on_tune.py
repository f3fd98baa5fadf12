"""Trials on Ray Tune: as many at once as the study allows, in actors that are reused."""

import time
from typing import Any

from ray import tune
from ray.tune.execution import class_cache

from orchestrator.foundation.logs import start_from_environment
from orchestrator.search.study import StudyJob, searcher
from orchestrator.search.trial import run_trial
from orchestrator.search.trial_record import TrialRecord


def run_on_tune(job: StudyJob, records: list[TrialRecord], missing: list[int], round_number: int) -> str:
    """Runs the missing trials; returns the reason of the last failure."""
    keep_keys_to_ourselves()
    # Tune has one registry of trainables for the whole cluster: names must differ between domains.
    name = f"finetune-{job.domain.domain}-{job.records.uri.rpartition('-')[2]}"
    resources = {"cpu": job.settings.cpus_per_trial, "gpu": job.settings.gpus_per_trial}
    tune.register_trainable(name, tune.with_resources(tune.with_parameters(_run_and_report, job=job), resources))
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
            verbose=0,
        ),
    )
    errors = tuner.fit().errors
    return str(errors[-1]).strip().splitlines()[-1] if errors else "no error was reported"


def _run_and_report(config: dict[str, Any], job: StudyJob) -> None:
    start_from_environment()
    tune.report(run_trial(config, job))


def keep_keys_to_ourselves() -> None:
    """Keeps AWS keys out of the settings of trials, where Ray's command lines and logs would show them."""
    names = class_cache.ENV_VARS_TO_PROPAGATE
    class_cache.ENV_VARS_TO_PROPAGATE = {name for name in names if not name.startswith("AWS_")}
