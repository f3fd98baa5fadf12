"""The report's front of target gain against forgetting, of a search that limits what the source may lose."""

from collections.abc import Sequence
from statistics import fmean

from pydantic import BaseModel, ConfigDict

from orchestrator.confirm.record import Candidate
from orchestrator.foundation.configuration import Configuration
from orchestrator.search.trial_record import TrialRecord, best_of_any, best_record


class SourceTrial(BaseModel):
    """A finished trial: gain of validation PSNR over the source model, and loss of source PSNR, both in dB.

    ``best`` is the best trial within the limit, and ``on_front`` says that no other trial gains as much and loses less.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int
    configuration: Configuration
    gain: float
    loss: float
    feasible: bool
    on_front: bool
    best: bool


class Forgetting(BaseModel):
    """Front of gain and loss in a study with a limit in dB: its finished trials, the least loss first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: float
    trials: list[SourceTrial]
    sentence: str


def forgetting_report(
    limit: float | None, records: Sequence[TrialRecord], candidates: Sequence[Candidate]
) -> Forgetting | None:
    """Builds the front of one domain from its trial records.

    Args:
        limit: ``search.keep_source``.
        records: The domain's trials.
        candidates: Those of its confirmation, the source model as it is among them.

    Returns:
        The front; None if the search sets no limit.
    """
    if limit is None:
        return None
    source = fmean(next(candidate.scores for candidate in candidates if candidate.configuration is None))
    best = best_record(records)
    finished = [(record.source.loss, (record.psnr or 0.0) - source, record) for record in records if record.source]
    trials: list[SourceTrial] = []
    most = float("-inf")
    for loss, gain, record in sorted(finished, key=lambda entry: (entry[0], -entry[1], entry[2].number)):
        trials.append(
            SourceTrial(
                number=record.number,
                configuration=record.configuration,
                gain=gain,
                loss=loss,
                feasible=record.feasible,
                on_front=gain > most,
                best=record is best,
            )
        )
        most = max(most, gain)
    return Forgetting(limit=limit, trials=trials, sentence=_sentence(limit, trials, best_of_any(records)))


def _sentence(limit: float, trials: Sequence[SourceTrial], best_of_all: TrialRecord | None) -> str:
    if not trials or best_of_all is None:
        return "No trial finished, so that none could keep the source."
    best = next((trial for trial in trials if trial.best), None)
    free = next(trial for trial in trials if trial.number == best_of_all.number)
    if best is None:
        return (
            f"No trial kept the source: the least loss was {trials[0].loss:.2f} dB, and search.keep_source allows "
            f"{limit:g} dB. Without averaged weights that keep it, the source model as it is is the answer."
        )
    if best is free:
        return f"The limit of {limit:g} dB on the source's loss costs nothing: the best trial of all keeps it."
    return (
        f"The limit of {limit:g} dB on the source's loss costs {free.gain - best.gain:.2f} dB on validation: trial "
        f"{best.number} gains {best.gain:.2f} dB and loses {best.loss:.2f} dB of the source, trial {free.number}, the "
        f"best without a limit, gains {free.gain:.2f} dB and loses {free.loss:.2f} dB."
    )
