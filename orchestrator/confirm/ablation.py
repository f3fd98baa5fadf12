"""The steps of transfer as separate arms, so that a report can show what each adds.

Zero-shot (the source model as it is) → feature transfer (F_θ reused, G_φ fresh) → model transfer (both reused, λ = 0,
nothing frozen) → joint optimisation (the winner: its λ and frozen depth). All have the same budget and fresh seeds, and
each step has its own learning rate, chosen on validation, for a fair comparison.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.search.trial_record import TrialRecord, best_of_any
from trainables.loops.settings import TransferConfiguration


@dataclass(frozen=True, slots=True)
class Ablation:
    """Configurations of the steps between zero-shot and the winner.

    Attributes:
        model: Configuration of model transfer.
        features: Configurations of feature transfer; of two, the first fresh seed's validation score decides.
    """

    model: TransferConfiguration
    features: tuple[TransferConfiguration, ...]


def ablation_of(
    records: Sequence[TrialRecord], default: TransferConfiguration, scratch: TransferConfiguration
) -> Ablation:
    """Plans the steps from a finished study.

    Model transfer takes the learning rate of the study's best trial without a regularizer, or the default's if none
    finished. Feature transfer tries that rate and the one of training from scratch, since G_φ starts from random
    weights.

    Args:
        records: The study's trials.
        default: Configuration of the default fine-tune, with λ = 0 and nothing frozen.
        scratch: Configuration of training from scratch, likewise.
    """
    best = best_of_any([record for record in records if record.configuration.lambda_ == 0])
    rate = best.configuration.learning_rate if best else default.learning_rate
    model = replace(default, learning_rate=rate)
    return Ablation(model, tuple(dict.fromkeys((model, scratch))))
