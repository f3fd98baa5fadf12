"""Arms of the benchmark of forgetting: what is searched under a limit, each by a study of the same number of trials."""

from dataclasses import dataclass, replace

from orchestrator.experiment.settings import Search
from orchestrator.foundation.stage_record import fingerprint
from orchestrator.foundation.storage import Storage
from orchestrator.runtime.progress_updates import NO_PROGRESS
from orchestrator.search.source_limit import held_starts
from orchestrator.search.starts import Start
from orchestrator.search.study import StudyJob
from orchestrator.search.trial_record import TrialRecord, best_record, read_records
from orchestrator.search.trials_in_turn import run_in_turn
from orchestrator.training.finetune import DomainJob
from search_spaces import TransferSpace
from trainables.errors import RunError
from trainables.loops.settings import TransferConfiguration, TransferMethod

FREE = "no limit"
"""The arm whose search knows no limit; weight averaging then brings its winner back to the limit (WiSE-FT)."""

METHODS = {
    FREE: TransferMethod(),
    "limit, L2-SP": TransferMethod(),
    "limit, replay": TransferMethod(regularizer="replay"),
    "limit, adapters": TransferMethod(adapter_rank=1),
    "limit, adapters and replay": TransferMethod(regularizer="replay", adapter_rank=1),
    "limit, frozen from output": TransferMethod(frozen_from="output"),
}

_FREE_STARTS = (
    TransferConfiguration(learning_rate=4.75e-4, lambda_=0.0, frozen_depth=0),
    TransferConfiguration(learning_rate=1.19e-3, lambda_=0.0, frozen_depth=2),
)
"""The two configurations with the least mean regret over the four domains of the tabular benchmark."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Settings of the studies: most source PSNR in dB that may be lost, trials, sampler, seed, rank of adapters."""

    keep_source: float
    trials: int
    sampler: str
    seed: int
    rank: int


def study_of(
    arm: str, job: DomainJob, space: TransferSpace, depths: tuple[int, int], limits: Limits, out: Storage
) -> StudyJob:
    """The study of an arm, in a folder that is named after everything that determines it."""
    method = METHODS[arm]
    if method.adapter_rank is not None:
        method = replace(method, adapter_rank=limits.rank)
    free = arm == FREE
    starts = _FREE_STARTS if free else held_starts(method.regularizer)
    settings = Search.model_validate(
        {"trials": limits.trials, "sampler": limits.sampler, "startup_trials": min(4, limits.trials)}
        | ({} if free else {"keep_source": limits.keep_source})
    )
    key = fingerprint(
        "keep-source-study-1",
        [job.domain, job.shards_digest, job.source_digest, job.degradation.to_dict(), job.scale],
        [str(job.budget), job.lr_patch, job.validation_images, job.validation_crop],
        [str(method), [str(start) for start in starts], settings.model_dump(exclude={"trials"}), limits.seed],
    )
    return StudyJob(
        domain=replace(job, method=method),
        settings=settings,
        trials=limits.trials,
        seed=limits.seed,
        learning_rate=space.learning_rate,
        lambda_=space.lambda_range,
        lambda_floor=space.lambda_[0],
        frozen_depth=depths,
        starts=tuple(Start("start", configuration) for configuration in starts),
        records=out.child("studies", key),
        scratch=out.child("scratch"),
        progress=NO_PROGRESS,
    )


def finished_study(job: StudyJob) -> list[TrialRecord]:
    """The records of a study, whose missing trials are run now."""
    records = read_records(job.records)[: job.trials]
    missing = sorted(set(range(job.trials)) - {record.number for record in records})
    if missing:
        reason = run_in_turn(job, records, missing)
        records = read_records(job.records)[: job.trials]
        if len(records) < job.trials:
            raise RunError(f"{job.trials - len(records)} trials of '{job.domain.domain}' failed ({reason}).")
    return records


def best_of(records: list[TrialRecord]) -> TransferConfiguration | None:
    """Configuration of the best feasible trial; None if none is."""
    best = best_record(records)
    return best.configuration if best else None
