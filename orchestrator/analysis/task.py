"""The analysis of one domain as a task, for advice that its search starts from."""

from functools import lru_cache

import torch

from orchestrator.analysis.analyze import advise_target, no_advice, observe_source
from orchestrator.analysis.job import AnalysisJob
from orchestrator.analysis.record import AdvisedDomain
from orchestrator.foundation.model_store import FoundModel, find_model
from orchestrator.foundation.storage import Storage
from orchestrator.runtime.task_runner import TaskRunner
from trainables.domain_shift.observation import Observation
from trainables.errors import ImageSetError


def analyze_domain(job: AnalysisJob, runner: TaskRunner) -> AdvisedDomain:
    """Measures the distance of a domain from the source; see :func:`~orchestrator.analysis.analyze.advise_target`."""
    del runner
    torch.set_num_threads(job.threads)
    try:
        found, reference = _source(job.model, job.model_digest, job.source, job.images)
    except ImageSetError as problem:
        return no_advice(problem)
    return advise_target(found, reference, job.domain, job.shards, job.space, job.images)


@lru_cache(maxsize=1)
def _source(model: Storage, digest: str, source: Storage | None, images: int) -> tuple[FoundModel, Observation]:
    del digest  # part of the key: another model at the same place has other features
    found = find_model(model.uri)
    return found, observe_source(found, source, images)
