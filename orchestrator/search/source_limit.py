"""A search that limits what the source may lose (``search.keep_source``): its first configurations, and its end.

The starts of an unlimited search have λ = 0, where 200 steps cost the source 2 to 5 dB: none of them would be feasible.
"""

from collections.abc import Sequence

from orchestrator.search.trial_record import TrialRecord
from search_spaces import PORTFOLIO
from trainables.loops.settings import RegularizerName, TransferConfiguration

_LAMBDAS = {"replay": (1e-2, 1e-3)}
_OTHER_LAMBDAS = (1e-1, 1e-2)
"""λ that costs the source less than 1 dB, then a tenth of it, at the default learning rate and 200 steps."""


def held_starts(regularizer: RegularizerName) -> tuple[TransferConfiguration, ...]:
    """Configurations that hold the source: the most cautious one first, so that a search soon has a feasible trial."""
    rate, lambdas = PORTFOLIO[0].learning_rate, _LAMBDAS.get(regularizer, _OTHER_LAMBDAS)
    return tuple(TransferConfiguration(learning_rate=rate, lambda_=value, frozen_depth=0) for value in lambdas)


def exceeded(records: Sequence[TrialRecord]) -> str:
    """End of a sentence about a study in which no trial kept the limit; empty if one did, or there is none."""
    kept = [record.source for record in records if record.source]
    if not kept or any(source.excess <= 0 for source in kept):
        return ""
    least = min(source.loss for source in kept)
    return f"; none kept the source: the least loss is {least:.2f} dB, search.keep_source allows {kept[0].allowed:g} dB"
