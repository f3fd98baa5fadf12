"""One study per domain, all domains on one cluster: Optuna suggests trials; Ray Tune, or this process, runs them.

A trial writes its record before it reports its score, so that a finished trial is on storage and is never run again. A
lost or failed trial is run again before the sampler goes on. A killed study runs the missing numbers with an Optuna
study that holds the finished trials. The sampler's random numbers depend on the trial number; with one trial of a
domain at a time, a resumed study thus suggests the same configurations as an uninterrupted one. A study is extended in
the same way.
"""

import logging
import re
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

from orchestrator.foundation.logs import log_context
from orchestrator.foundation.storage import Storage
from orchestrator.runtime.task_runner import TaskRunner
from orchestrator.search.guide import read_end
from orchestrator.search.study import StudyJob
from orchestrator.search.trial_record import TrialRecord, read_records
from orchestrator.search.trials_in_turn import run_in_turn
from orchestrator.search.trials_on_tune import run_on_tune
from trainables.errors import RunError

log = logging.getLogger(__name__)

_TRIES = 3
"""Rounds after which the same trial may be the first that is missing before the study fails."""

_ROUND = re.compile(r"\d{16,}-\d+")


def drive_study(job: StudyJob, runner: TaskRunner) -> list[TrialRecord]:
    """Runs one domain's study to its end and returns its records.

    Raises:
        RunError: If a trial fails again and again.
    """
    with log_context(stage="search", domain=job.domain.domain):
        return _run_to_its_end(job, runner)


def _run_to_its_end(job: StudyJob, runner: TaskRunner) -> list[TrialRecord]:
    reason, tries, first = "", 0, -1
    for round_number in count():
        if job.ends_early and (end := read_end(job.records)):
            job = replace(job, trials=end.trials, ends_early=False)
        records = read_records(job.records)
        missing = sorted(set(range(job.trials)) - {record.number for record in records})
        if not missing:
            _delete_state(job.scratch)
            return records[: job.trials]
        if round_number > 0:
            tries, first = tries + 1 if missing[0] == first else 1, missing[0]
        if tries == _TRIES:
            break
        log.info("round %d: %d of %d trials are missing", round_number, len(missing), job.trials)
        run_trials = run_on_tune if runner.distributed else run_in_turn
        reason = run_trials(job, records, missing, round_number)
    kept = f"{len(records)} of {job.trials} trials are kept"
    raise RunError(f"trial {first} failed {_TRIES} times ({reason.rstrip('.')}); {kept}")


def _delete_state(scratch: Storage) -> None:
    """Removes Tune's folders of finished rounds, which have the names given by `run_on_tune`, and nothing else."""
    names = {facts.path.split("/")[0] for facts in scratch.files()}
    with suppress(OSError):
        names |= set() if scratch.remote else {path.name for path in Path(scratch.path).iterdir()}
    for name in sorted(names):
        if _ROUND.fullmatch(name):
            scratch.child(name).delete_folder()
    with suppress(OSError):
        if not scratch.remote:
            Path(scratch.path).rmdir()
