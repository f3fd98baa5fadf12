"""A choice in a sentence: the best mean is always named, and its lead where it is not the answer."""

import pytest

from orchestrator.confirm.record import Candidate, Choice, Standing
from orchestrator.report.choice_sentence import choice_sentence

CANDIDATES = [
    Candidate(name=name, label=label, configuration=None, validation_psnr=[], search_psnr=None)
    for name, label in (("default", "default fine-tune"), ("trial-3-soup", "trial 3, averaged over seeds"))
]


def choice(answer, by, scenes, margin=0.02):
    standings = [Standing(name="default", mean=0.0123, low=-0.002, high=0.03)]
    standings.append(Standing(name="trial-3-soup", mean=0.0, low=0.0, high=0.0))
    return Choice(answer=answer, best_mean="trial-3-soup", scenes=scenes, by=by, margin=margin, standings=standings)


@pytest.mark.parametrize(
    ("answer", "by", "scenes", "said"),
    [
        (
            "default",
            "interval",
            8,
            "On validation trial 3, averaged over seeds has the best mean, +0.012 dB [-0.002, +0.030] over default "
            "fine-tune, the simplest candidate that ties with it, at most 0.02 dB behind: that is the answer.",
        ),
        (
            "trial-3-soup",
            "interval",
            8,
            "On validation trial 3, averaged over seeds has the best mean, and no simpler candidate ties with it, at "
            "most 0.02 dB behind.",
        ),
        (
            "default",
            "margin",
            4,
            "On validation trial 3, averaged over seeds has the best mean, +0.012 dB over default fine-tune, the "
            "simplest candidate within 0.02 dB of it: that is the answer.",
        ),
        (
            "trial-3-soup",
            "margin",
            4,
            "On validation trial 3, averaged over seeds has the best mean, and no simpler candidate is within 0.02 dB "
            "of it: that is the answer.",
        ),
    ],
)
def test_the_choice_in_a_sentence(answer, by, scenes, said):
    assert choice_sentence(choice(answer, by, scenes), CANDIDATES) == said


def test_a_choice_of_an_earlier_version_claims_no_margin():
    said = choice_sentence(choice("default", "interval", 8, margin=None), CANDIDATES)
    assert said.endswith("the simplest candidate that ties with it: that is the answer.")
