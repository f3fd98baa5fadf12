"""The analysis of one domain as a task, for advice that its search starts from."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from orchestrator.analysis.record import AdvisedDomain
from orchestrator.foundation.model_store import FoundModel, find_model
from orchestrator.foundation.storage import Storage
from orchestrator.runtime.task_runner import TaskRunner
from search_spaces import TransferSpace
from trainables.errors import ImageSetError

if TYPE_CHECKING:
    from trainables.domain_shift.observation import Observation


@dataclass(frozen=True, slots=True)
class AnalysisJob:
    """Input of the task that analyses one domain.

    Attributes:
        domain: Name of the target.
        shards: Its shards, of which training and validation images alone are read.
        space: Its search space.
        model: Folder of the source model.
        model_digest: Which version of it.
        source: Shards of the source's images; None for generated ones.
        images: Most images of each set that are analysed.
        threads: torch threads.
    """

    domain: str
    shards: Storage
    space: TransferSpace
    model: Storage
    model_digest: str
    source: Storage | None
    images: int
    threads: int


def analyze_domain(job: AnalysisJob, runner: TaskRunner) -> AdvisedDomain:
    """Measures the distance of a domain from the source; see :func:`~orchestrator.analysis.analyze.advise_target`."""
    from orchestrator.analysis.analyze import (  # here: a run without advice needs no scikit-learn
        advise_target,
        no_advice,
    )

    del runner
    torch.set_num_threads(job.threads)
    try:
        found, reference = _source(job.model, job.model_digest, job.source, job.images)
    except ImageSetError as problem:
        return no_advice(problem)
    return advise_target(found, reference, job.domain, job.shards, job.space, job.images)


@lru_cache(maxsize=1)
def _source(model: Storage, digest: str, source: Storage | None, images: int) -> tuple[FoundModel, "Observation"]:
    from orchestrator.analysis.analyze import observe_source

    del digest  # part of the key: another model at the same place has other features
    found = find_model(model.uri)
    return found, observe_source(found, source, images)
