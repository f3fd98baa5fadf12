"""What records say of their search, on records whose answer is known."""

import math
import random

import pytest
from study_records import AXES, DISTRIBUTIONS, record

from orchestrator.report.range_edges import edge_warnings
from orchestrator.report.study_facts import (
    FEWEST_FOR_IMPORTANCE,
    importance,
    not_reproducible,
    rank_correlations,
    replay_stopping,
    study_facts,
)
from orchestrator.search.early_stopping import Stopping


def crossing(count=8):
    """The first rung has the order turned round, the second one the final order."""
    return [record(n, [30.0 - n, 20.0 + n, 25.0 + n]) for n in range(count)]


def test_rank_correlation_of_each_rung_over_whole_trials_alone():
    records = [*crossing(), record(8, [99.0], "stopped"), record(9, [], "diverged")]
    first, second = rank_correlations(records)
    assert (first.step, second.step) == (10, 20)
    assert [first.spearman, first.kendall, second.spearman, second.kendall] == pytest.approx([-1, -1, 1, 1])
    assert rank_correlations(crossing(4)) == []
    (flat, _) = rank_correlations([record(n, [7.0, 1.0 * n, 2.0 * n]) for n in range(5)])
    assert (flat.spearman, flat.kendall) == (None, None)


def test_what_stopping_would_have_saved_and_lost_on_these_curves():
    told = replay_stopping(crossing(4), Stopping(2, 1))
    # Every trial begins below the half of those before it, so that all but the first, the worst, are stopped.
    assert told.stopped == 3
    assert told.saved == pytest.approx(1 - (3 + 1 + 1 + 1) / 12)
    assert told.lost_db == pytest.approx(3.0)
    orderly = [record(n, [10.0 + n, 20.0 + n, 25.0 + n]) for n in (3, 0, 1, 2)]
    kept = replay_stopping(orderly, Stopping(2, 1))
    assert (kept.stopped, kept.lost_db) == (3, 0)
    assert replay_stopping([*crossing(), record(8, [1.0], "stopped")], Stopping(2, 1)) is None
    assert replay_stopping(crossing(), Stopping(2, 4)) is None
    assert replay_stopping([], Stopping(2, 1)) is None


def test_importance_finds_the_setting_that_matters_and_needs_enough_trials():
    chance = random.Random(0)
    records = []
    for number in range(FEWEST_FOR_IMPORTANCE):
        rate, depth = 10 ** chance.uniform(-4.5, -2.6), chance.randint(0, 6)
        records.append(record(number, [30 - 2 * (math.log10(rate) + 3.5) ** 2], rate=rate, depth=depth))
    told = importance(records, DISTRIBUTIONS)
    assert list(told) == list(DISTRIBUTIONS)
    assert sum(told.values()) == pytest.approx(1)
    assert told["learning_rate"] > 0.7
    assert told == importance(records, DISTRIBUTIONS)
    assert importance(records[1:], DISTRIBUTIONS) == {}
    assert importance([record(n, [5.0]) for n in range(30)], DISTRIBUTIONS) == {}


def found(rate=3e-4, lambda_=0.0, depth=2):
    return edge_warnings({"learning_rate": rate, "lambda_": lambda_, "frozen_depth": depth}, AXES)


def test_a_winner_near_an_edge_that_can_move_is_warned_of():
    assert found() == []
    (told,) = found(rate=2.9e-3)
    assert told.startswith("the winner's learning rate 0.0029 lies on the upper edge of its range (3e-05 to 0.003)")
    assert "widen targets.art.learning_rate, for example to [3e-05, 0.009]" in told
    assert "lower edge" in found(rate=3.1e-5)[0]
    # 5 % of two decades on a log scale: up to a factor of 1.26.
    assert found(rate=3e-3 / 1.25)
    assert not found(rate=3e-3 / 1.27)
    assert "upper edge" in found(lambda_=9e-2)[0]
    assert "for example to [0, 6]" in found(depth=4)[0]


def test_ends_that_are_natural_are_no_edges():
    assert found(lambda_=0.0) == found(lambda_=1e-5) == found(depth=0) == []


def test_concurrency_alone_is_not_reproducible():
    assert not_reproducible(1) is None
    assert not_reproducible(4).startswith("4 trials of this domain ran at once")


def test_all_of_it_survives_json():
    records = [*crossing(), record(8, [1.0], "stopped"), record(9, [], "diverged")]
    told = study_facts(
        records,
        distributions=DISTRIBUTIONS,
        axes=AXES,
        winner={"learning_rate": 3e-3, "lambda_": 0.0, "frozen_depth": 1},
        evaluations=3,
        concurrent_trials=2,
    )
    assert told.trials == {"finished": 8, "stopped": 1, "diverged": 1}
    assert told.trained_share == pytest.approx((8 * 3 + 1 + 3) / 30)
    assert told.importance_note == "too few trials: 9 of 20"
    assert (len(told.warnings), told.replays) == (1, [])
    assert type(told).model_validate_json(told.model_dump_json()) == told
