"""The front of quality and speed, and what of it is confirmed."""

import pytest
import records

from orchestrator.confirm.candidates import candidates_of, front_of
from orchestrator.search.pareto_front import confirmed_of, pareto_front
from trainables.loops.settings import TransferConfiguration

DEFAULT = TransferConfiguration(learning_rate=1e-4, lambda_=0.0, frozen_depth=0)
BLOCKS = 8


def trial(number, psnr, kept, speed=None, rate=1e-3, status="finished"):
    """A trial whose network is the faster the fewer blocks it keeps."""
    configuration = TransferConfiguration(
        learning_rate=rate, lambda_=0.0, frozen_depth=0, kept_blocks=None if kept == BLOCKS else kept
    )
    speed = 10.0 - kept if speed is None else speed
    return records.trial(number, status=status, psnr=psnr, configuration=configuration, speed=speed)


def numbers(found):
    return [record.number for record in found]


def test_trials_that_none_beats_in_both_best_quality_first():
    found = [trial(0, 30.0, 8), trial(1, 29.0, 4), trial(2, 28.0, 2), trial(3, 28.5, 6), trial(4, 27.0, 2)]
    assert numbers(pareto_front(found)) == [0, 1, 2]
    assert numbers(pareto_front(found[::-1])) == [0, 1, 2]


def test_a_trial_with_equal_quality_and_less_speed_is_dominated():
    assert numbers(pareto_front([trial(0, 30.0, 8), trial(1, 30.0, 4), trial(2, 29.0, 4)])) == [1]


def test_of_equal_trials_the_first_stands():
    assert numbers(pareto_front([trial(5, 30.0, 4), trial(2, 30.0, 4), trial(9, 30.0, 4)])) == [2]


def test_a_number_of_blocks_stands_once():
    found = [trial(i, 25.0 + i / 10, 1 + i % 4, rate=1e-4 * (i + 1)) for i in range(12)]
    kept = [record.configuration.kept_blocks for record in pareto_front(found)]
    assert len(set(kept)) == len(kept)


def test_a_shorter_network_that_was_measured_slower_earns_no_place():
    assert numbers(pareto_front([trial(0, 30.0, 4, speed=6.0), trial(1, 29.0, 3, speed=5.9)])) == [0]


def test_diverged_trials_and_trials_without_speed_never_stand():
    diverged = trial(0, None, 1, status="diverged")
    plain = trial(1, 30.0, 8).model_copy(update={"speed": None})
    assert pareto_front([diverged, plain]) == []
    assert numbers(pareto_front([diverged, plain, trial(2, 20.0, 8)])) == [2]


@pytest.mark.parametrize(
    ("count", "chosen"), [(0, []), (1, [0]), (5, [0, 1, 2, 3, 4]), (8, [0, 2, 4, 5, 7]), (16, [0, 4, 8, 11, 15])]
)
def test_a_handful_is_confirmed_with_both_ends(count, chosen):
    assert numbers(confirmed_of([trial(number, 30.0, 8) for number in range(count)])) == chosen


def test_a_point_that_is_a_candidate_is_not_trained_twice():
    found = [trial(0, 29.0, 8, rate=1e-4), trial(1, 30.0, 4), trial(2, 28.0, 2), trial(3, 27.0, 1)]
    candidates = candidates_of(found, 1, DEFAULT)
    assert [candidate.name for candidate in candidates] == ["trial-1", "default", "zero_shot"]
    told = front_of(found, candidates, BLOCKS)
    assert [(point.kept, point.trial, point.name, point.arm) for point in told] == [
        (4, 1, "trial-1", "kept-4"),
        (2, 2, "kept-2", "kept-2"),
        (1, 3, "kept-1", "kept-1"),
    ]
    assert [point.configuration.kept_blocks for point in told] == [4, 2, 1]


def test_the_default_fine_tune_can_be_a_point():
    found = [trial(0, 29.0, 8, rate=1e-4), trial(1, 28.0, 4)]
    told = front_of(found, candidates_of(found, 2, DEFAULT), BLOCKS)
    assert [(point.kept, point.name) for point in told] == [(8, "default"), (4, "trial-1")]
