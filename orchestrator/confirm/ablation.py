"""The steps of transfer as arms of their own, so that a report can say what each adds.

Zero-shot (the source model as it is) → feature transfer (F_θ reused, G_φ fresh) → model transfer (both reused, λ = 0,
nothing frozen) → joint optimisation (the winner: its λ and frozen depth). All have the same budget and fresh seeds, and
each step its own learning rate, chosen on validation, so that no step is a strawman.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.search.trial_record import TrialRecord, best_record
from trainables.loops.finetune import TransferConfiguration


@dataclass(frozen=True, slots=True)
class Ablation:
    """Configurations of the steps between zero-shot and the winner.

    Attributes:
        model: Of model transfer.
        features: Of feature transfer; where there are two, the first fresh seed's validation score decides.
    """

    model: TransferConfiguration
    features: tuple[TransferConfiguration, ...]


def ablation_of(
    records: Sequence[TrialRecord], default: TransferConfiguration, scratch: TransferConfiguration
) -> Ablation:
    """Plans the steps from a finished study.

    Model transfer takes the learning rate of the study's best trial without a regularizer, or the default's where none
    finished. Feature transfer tries that one and the rate of training from scratch, since G_φ starts from nothing.

    Args:
        records: The study's trials.
        default: The default fine-tune, which has λ = 0 and freezes nothing.
        scratch: Training from scratch, likewise.
    """
    best = best_record([record for record in records if record.configuration.lambda_ == 0])
    rate = best.configuration.learning_rate if best else default.learning_rate
    model = replace(default, learning_rate=rate)
    return Ablation(model, tuple(dict.fromkeys((model, scratch))))
