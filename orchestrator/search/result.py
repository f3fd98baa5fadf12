"""Result of a finished search in its stage's record, for later stages and for other experiments."""

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
    """Result of a finished search.

    Attributes:
        trials: Number of trials.
        trial_seconds: Sum of their times.
        best: The best trial; None if none finished.
        sampled: Sampled points by trial number, to run a lost trial again; None in records of version 0.2.0.
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
