"""Pareto front of quality and speed: the trials of a study that no other trial dominates."""

from collections.abc import Sequence

import numpy as np

from orchestrator.search.trial_record import TrialRecord

CONFIRMED = 5
"""Most points of a front that are confirmed; of a longer front both ends and points at even distances between them."""


def pareto_front(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The finished trials that are non-dominated by validation PSNR and output speed, the best by PSNR first.

    A trial is dominated by one that is at least as good in both and better in one. Of trials that are equal in both,
    the first is taken. One that loses more of the source than its search allows is left out. Speed depends on the
    number of kept blocks alone, so that each number occurs once at most. Empty if speed was not an objective.
    """
    finished = [
        (-record.psnr, -record.speed, record.number, record)
        for record in records
        if record.psnr is not None and record.speed is not None and record.feasible
    ]
    front: list[TrialRecord] = []
    fastest = 0.0
    for _, slowness, _, record in sorted(finished, key=lambda entry: entry[:3]):
        if -slowness > fastest:
            front.append(record)
            fastest = -slowness
    return front


def confirmed_of(front: Sequence[TrialRecord], most: int = CONFIRMED) -> list[TrialRecord]:
    """The points of a front that are confirmed: all, or ``most`` of them with both ends, from 2."""
    chosen = np.unique(np.linspace(0, len(front) - 1, min(most, len(front))).round().astype(int))
    return [front[i] for i in chosen]
