"""Networks that a run scores besides its trainings' own validations: on source images, and averages of weights."""

from dataclasses import dataclass

from orchestrator.experiment.settings import Experiment
from trainables.network.weight_average import FINE_SHARES, SHARES


@dataclass(frozen=True, slots=True)
class FurtherScores:
    """Numbers of networks that a stage scores in one domain.

    Attributes:
        validation: On all validation images.
        source: On all held-out source images.
    """

    validation: int
    source: int


def of_a_trial(experiment: Experiment) -> FurtherScores:
    """A trial tells what the source has lost if that is limited."""
    return FurtherScores(0, int(experiment.search.keep_source is not None))


def of_a_confirmation(experiment: Experiment, steps: int) -> FurtherScores:
    """Averages over seeds and with the source's weights, and every arm that may have forgotten the source.

    With a limit on forgetting every candidate is scored on source images, and so is every share of averaged weights.

    Args:
        experiment: The experiment.
        steps: Steps of transfer that are trained as arms: 0 or 2.
    """
    seeds, limited = experiment.confirmation.seeds, experiment.search.keep_source is not None
    tuned = experiment.confirmation.top + limited + 1 + steps  # the trials, the best of all, the default, the steps
    averages = tuned if seeds > 1 else 0
    mixed = len(FINE_SHARES if limited else SHARES) * seeds
    # The source model, the default fine-tune, the answer, the steps, the average with the source, that over seeds.
    arms = 1 + (3 + steps) * seeds + (seeds > 1)
    candidates = 1 + (tuned + 1) * seeds + averages
    return FurtherScores(averages + mixed, candidates + mixed if limited else arms)


def of_a_finished_model(experiment: Experiment) -> FurtherScores:
    """The finished model, and with a limit on forgetting every length; the average over seeds against single ones."""
    section, seeds = experiment.finish, min(experiment.finish.seeds, experiment.confirmation.seeds)
    lengths = section.doublings * seeds if experiment.search.keep_source is not None else 0
    return FurtherScores(1 + seeds if seeds > 1 else 0, 1 + lengths)
