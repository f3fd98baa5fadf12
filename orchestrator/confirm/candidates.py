"""Candidates of a study for confirmation: configurations of distinct effect, and points of the front."""

from collections.abc import Sequence

from orchestrator.confirm.job import FrontRun
from orchestrator.confirm.record import Candidate
from orchestrator.search.pareto_front import confirmed_of, pareto_front
from orchestrator.search.trial_record import TrialRecord, best_of_any
from trainables.loops.settings import TransferConfiguration

NO_EFFECT = 1e-4
"""A λ below this does what none does: on the measured table λ = 1e-5 moves PSNR by 0.015 dB (root mean square over 207
trainings), less than another seed does (0.02 to 0.05 dB)."""

_RATES, _LAMBDAS = 1.25, 2.0
"""Largest ratios of two learning rates, and of two λ, of the same effect."""


def alike(first: TransferConfiguration, second: TransferConfiguration) -> bool:
    """True of two configurations of the same effect.

    Their learning rates lie within 25 %, λ is without effect in both or within a factor of 2, and they freeze and keep
    the same blocks.
    """
    if (first.frozen_depth, first.kept_blocks) != (second.frozen_depth, second.kept_blocks):
        return False
    held = [c.lambda_ for c in (first, second) if c.lambda_ >= NO_EFFECT]
    same_lambda = not held or (len(held) == 2 and max(held) <= _LAMBDAS * min(held))
    rates = first.learning_rate, second.learning_rate
    return same_lambda and max(rates) <= _RATES * min(rates)


def candidates_of(
    records: Sequence[TrialRecord], top: int, default: TransferConfiguration, chosen: str | None = None
) -> tuple[Candidate, ...]:
    """The study's ``top`` best trials of distinct effect, the default fine-tune and no fine-tuning.

    Where a search limits what the source may lose, these are its best feasible trials. The best of all is one more,
    since averaged with the source's weights it may keep the limit.

    Args:
        records: The study's trials.
        top: Number of trials.
        default: Configuration of the default fine-tune, which stands for trials of the same effect.
        chosen: Name of a candidate that an interrupted confirmation has chosen, which stays one.
    """
    finished = [(record, record.psnr) for record in records if record.psnr is not None]
    distinct: list[Candidate] = []
    best, wanted = best_of_any(records), top
    for record, psnr in sorted(finished, key=lambda entry: -entry[1]):
        found = candidate_of(f"trial-{record.number}", f"trial {record.number}", record.configuration, psnr)
        known = [default, *(candidate.configuration for candidate in distinct)]
        twin = any(configuration and alike(record.configuration, configuration) for configuration in known)
        beyond = not record.feasible and record is best
        wanted += beyond and not twin
        if found.name == chosen or (len(distinct) < wanted and not twin and (record.feasible or beyond)):
            distinct.append(found)
    own = next((psnr for record, psnr in finished if record.configuration == default), None)
    untuned = candidate_of("default", "default fine-tune", default, own)
    return (*distinct, untuned, candidate_of("zero_shot", "source model as it is", None))


def candidate_of(
    name: str, label: str, configuration: TransferConfiguration | None, search_psnr: float | None = None
) -> Candidate:
    """A candidate before its confirmation; ``search_psnr`` is its score in the search in dB, if it was a trial."""
    return Candidate(name=name, label=label, configuration=configuration, validation_psnr=[], search_psnr=search_psnr)


def trials_of(records: Sequence[TrialRecord], candidates: Sequence[Candidate]) -> dict[str, TrialRecord]:
    """The best trial with each candidate's configuration, by the candidate's name; none where there was none."""
    finished = [record for record in records if record.psnr is not None]
    own = {c.name: [r for r in finished if r.configuration == c.configuration] for c in candidates}
    return {name: best for name, same in own.items() if (best := best_of_any(same)) is not None}


def front_of(records: Sequence[TrialRecord], candidates: Sequence[Candidate], blocks: int) -> tuple[FrontRun, ...]:
    """The points of a study's front that are confirmed, the best by validation PSNR first.

    Args:
        records: The study's trials.
        candidates: The candidates; a point with the configuration of one is not trained twice.
        blocks: Residual blocks of the source model.
    """
    names = {candidate.configuration: candidate.name for candidate in candidates}
    points = []
    for record in confirmed_of(pareto_front(records)):
        kept = record.configuration.kept_blocks or blocks
        name = names.get(record.configuration, f"kept-{kept}")
        points.append(FrontRun(kept, record.number, record.configuration, name, record.speed or 0.0))
    return tuple(points)
