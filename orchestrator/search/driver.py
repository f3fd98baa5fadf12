"""One Ray Tune + Optuna study per domain, all domains on one cluster.

A trial writes its own record, whole, before anybody hears of its score: what has finished is on storage and is never
run again. A killed study goes on as a fresh Tuner over the missing numbers whose Optuna study holds the finished
ones. With one trial of a domain at a time, the sampler's randomness restarts for each trial number, so that a resumed
study suggests what an unbroken one would have. A study is extended in the same way.
"""

import re
import time
from contextlib import suppress
from pathlib import Path

import ray
from ray import tune
from ray.tune.execution import class_cache

from orchestrator.foundation.storage import Storage
from orchestrator.search.samplers import NumberedSearch, RepeatableSampler, maximised
from orchestrator.search.study import StudyJob, study_with
from orchestrator.search.trial import run_trial
from orchestrator.search.trial_record import TrialRecord, read_records
from trainables.errors import RunError

_ROUNDS = 3
"""How often a study is taken up again when trials are lost to crashes."""

_ROUND = re.compile(r"\d{16,}-\d+")


@ray.remote(num_cpus=0, max_retries=2)
def drive_study(job: StudyJob) -> list[TrialRecord]:
    """Runs one domain's study to its end, as a driver of its own, and returns its records.

    Raises:
        RunError: If trials keep getting lost.
    """
    reason = ""
    for round_number in range(_ROUNDS + 1):
        records = read_records(job.records)
        missing = sorted(set(range(job.trials)) - {record.number for record in records})
        if not missing:
            _delete_state(job.scratch)
            return records[: job.trials]
        if round_number < _ROUNDS:
            reason = _fit(job, records, missing, round_number)
    raise RunError(f"{len(missing)} of {job.trials} trials were lost in each of {_ROUNDS} rounds ({reason})")


def _delete_state(scratch: Storage) -> None:
    """Removes what Tune kept of finished rounds, whose folders `_fit` names, and nothing else."""
    names = {facts.path.split("/")[0] for facts in scratch.files()}
    with suppress(OSError):
        names |= set() if scratch.remote else {path.name for path in Path(scratch.path).iterdir()}
    for name in sorted(names):
        if _ROUND.fullmatch(name):
            scratch.child(name).delete_folder()
    with suppress(OSError):
        if not scratch.remote:
            Path(scratch.path).rmdir()


def _keep_keys_to_ourselves() -> None:
    """Keeps Tune from putting AWS's keys into the settings of trials, where command lines and logs of Ray show them."""
    names = class_cache.ENV_VARS_TO_PROPAGATE
    class_cache.ENV_VARS_TO_PROPAGATE = {name for name in names if not name.startswith("AWS_")}


def _fit(job: StudyJob, records: list[TrialRecord], missing: list[int], round_number: int) -> str:
    """Runs the missing trials; returns why the last of those that were lost was lost."""
    _keep_keys_to_ourselves()
    # Tune's registry of trainables is one for the cluster: a name of our own keeps domains apart.
    name = f"finetune-{job.domain.domain}-{job.records.uri.rpartition('-')[2]}"
    resources = {"cpu": job.settings.cpus_per_trial, "gpu": job.settings.gpus_per_trial}
    tune.register_trainable(name, tune.with_resources(tune.with_parameters(run_trial, job=job), resources))
    search = NumberedSearch(
        missing,
        space=job.distributions(),
        **maximised(job.objectives),
        sampler=RepeatableSampler(job.settings.sampler, job.seed, job.settings.startup_trials),
        **study_with(job, records),
    )
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
