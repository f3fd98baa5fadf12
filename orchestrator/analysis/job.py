"""Input of the task that analyses one domain."""

from dataclasses import dataclass

from orchestrator.foundation.storage import Storage
from search_spaces import TransferSpace


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
