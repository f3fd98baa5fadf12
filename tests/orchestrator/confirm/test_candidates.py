"""Candidates of a study: distinct in effect, and never more than asked for."""

from dataclasses import replace

import pytest
from searched_experiment import record

from orchestrator.confirm.candidates import NO_EFFECT, alike, candidates_of, trials_of
from orchestrator.search.trial_record import SourceKept
from trainables.loops.settings import TransferConfiguration

DEFAULT = TransferConfiguration(learning_rate=1e-4, lambda_=0.0, frozen_depth=0)
FAST = replace(DEFAULT, learning_rate=5e-4)


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"learning_rate": 5.08e-4}, True),
        ({"learning_rate": 4.01e-4}, True),
        ({"learning_rate": 6.3e-4}, False),
        ({"lambda_": NO_EFFECT / 2}, True),
        ({"lambda_": 1e-3}, False),
        ({"frozen_depth": 1}, False),
        ({"kept_blocks": 3}, False),
    ],
)
def test_configurations_of_one_effect(changes, same):
    assert alike(FAST, replace(FAST, **changes)) is alike(replace(FAST, **changes), FAST) is same


def test_two_regularizers_are_alike_within_a_factor_of_two():
    held = replace(FAST, lambda_=1e-3)
    assert alike(held, replace(held, lambda_=2e-3))
    assert not alike(held, replace(held, lambda_=2.1e-3))


def test_twins_are_one_candidate_and_the_next_distinct_trial_takes_the_place():
    found = [replace(FAST, learning_rate=rate) for rate in (4.99e-4, 5.08e-4)]
    found += [replace(DEFAULT, learning_rate=1.1e-4), replace(FAST, frozen_depth=2), replace(FAST, frozen_depth=5)]
    records = [record(number, 30.0 - number, each) for number, each in enumerate(found)]
    assert [c.name for c in candidates_of(records, 2, DEFAULT)] == ["trial-0", "trial-3", "default", "zero_shot"]
    # What an interrupted confirmation of an earlier version has chosen stays a candidate.
    again = [c.name for c in candidates_of(records, 2, DEFAULT, "trial-1")]
    assert again == ["trial-0", "trial-1", "default", "zero_shot"]


def test_a_trial_that_lost_too_much_of_the_source_is_a_candidate_for_averaging_alone_if_it_is_the_best_of_all():
    kept = SourceKept(psnr=25.0, loss=2.0, allowed=1.0)
    lossy = record(1, 27.0, FAST).model_copy(update={"source": kept})
    worse = record(2, 26.0, replace(FAST, frozen_depth=3)).model_copy(update={"source": kept})
    assert [c.name for c in candidates_of([lossy, worse], 2, DEFAULT)] == ["trial-1", "default", "zero_shot"]


def test_the_default_has_the_score_of_its_own_trial_alone():
    records = [record(0, 25.0, DEFAULT), record(1, 26.0, replace(DEFAULT, learning_rate=1.1e-4))]
    (default, _) = candidates_of(records, 2, DEFAULT)
    assert default.search_psnr == 25.0
    assert {name: trial.number for name, trial in trials_of(records, [default]).items()} == {"default": 0}
