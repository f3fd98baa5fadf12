"""Trials in this process, one after another, with the same sampler, starts and records as on Ray Tune."""

from orchestrator.search.samplers import NumberedSearch
from orchestrator.search.study import StudyJob, searcher
from orchestrator.search.trial import run_trial
from orchestrator.search.trial_record import TrialRecord
from trainables.errors import reason_of


def run_in_turn(job: StudyJob, records: list[TrialRecord], missing: list[int], round_number: int = 0) -> str:
    """Runs the missing trials; returns the reason of the last failure."""
    del round_number
    return run_suggested(searcher(job, records, missing), job)


def run_suggested(search: NumberedSearch, job: StudyJob) -> str:
    """Runs all suggested trials; returns the reason of the last failure."""
    reason = "no error was reported"
    for name in map(str, range(job.trials)):
        config = search.suggest(name)
        if not isinstance(config, dict):  # none is left, or the study ends
            break
        try:
            search.on_trial_complete(name, run_trial(config, job))
        except Exception as error:
            reason = reason_of(error)
            search.on_trial_complete(name, error=True)
    return reason
