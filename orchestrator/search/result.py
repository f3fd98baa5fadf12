"""What the record of a finished search says of it, for later stages and for other experiments."""

from collections.abc import Sequence

from orchestrator.foundation.configuration import Configuration
from orchestrator.foundation.record import Count, Number, Record
from orchestrator.search.trial_record import Point, TrialRecord, best_record


class BestTrial(Record):
    """The finished trial with the best validation PSNR in dB."""

    number: Count
    configuration: Configuration
    psnr: Number


class SearchResult(Record):
    """A finished search.

    Attributes:
        trials: How many trials it has.
        trial_seconds: What they took together.
        best: None if none finished.
        sampled: The sampler's points by trial number, to run a lost trial again as it was; None of version 0.2.0.
    """

    trials: Count
    trial_seconds: Number
    best: BestTrial | None
    sampled: dict[int, Point] | None = None


def search_result(records: Sequence[TrialRecord]) -> SearchResult:
    """Sums up the trials of a finished search."""
    best = best_record(records)
    return SearchResult(
        trials=len(records),
        trial_seconds=sum(record.seconds for record in records),
        best=BestTrial(number=best.number, configuration=best.configuration, psnr=best.psnr or 0.0) if best else None,
        sampled={record.number: record.sampled for record in records},
    )
