"""Expected gain of one more trial: large where little is known, small on a flat top that has been tried."""

import math

import optuna
import pytest
from test_searching_units import record, study_job

from orchestrator.search.expected_gain import expected_gain
from orchestrator.search.study import study_with

NOISE = 0.02


def gain_of(points, height, noise=NOISE):
    job = study_job()
    done = [
        record(number, point).model_copy(update={"objective": height(point)}) for number, point in enumerate(points)
    ]
    study = optuna.load_study(**study_with(job, done))
    return expected_gain(study, job.distributions(), noise)


def grid(rates, depths):
    return [{"learning_rate": rate, "lambda_": 1e-6, "frozen_depth": depth} for rate in rates for depth in depths]


def slope(point):
    return 30 + math.log10(point["learning_rate"])


def test_a_slope_towards_untried_rates_promises_more_than_noise():
    assert gain_of(grid((3e-5, 6e-5, 1e-4, 2e-4), (0, 3)), slope) > 0.2


def test_scores_that_differ_by_less_than_noise_promise_less_than_noise():
    flat = grid((1e-4, 3e-4, 1e-3, 2e-3), (0, 3, 6))
    assert 0 <= gain_of(flat, lambda point: 30 + 0.002 * math.sin(1e5 * point["learning_rate"])) < NOISE


def test_one_trial_says_nothing():
    assert gain_of(grid((1e-4,), (0,)), slope) is None


def test_it_is_in_db_whatever_their_level():
    points = grid((3e-5, 1e-4, 2e-4), (0, 3))
    low, high = gain_of(points, slope), gain_of(points, lambda point: slope(point) + 10)
    assert low == pytest.approx(high, rel=1e-3)
