"""Expected gain of one more trial: large where little is known, small on a flat top that has been tried."""

import math

import optuna
import pytest
from test_searching_units import record, study_job

from orchestrator.experiment.settings import Search
from orchestrator.search.expected_gain import expected_gain
from orchestrator.search.study import study_with
from orchestrator.search.trial_record import SourceKept

NOISE = 0.02


def gain_of(points, height, noise=NOISE, excess=None):
    """Expected gain after trials at some points; ``excess`` is their loss of source PSNR above a limit of 1 dB."""
    job = study_job(settings=Search(startup_trials=3, keep_source=1.0 if excess else None))
    done = []
    for number, point in enumerate(points):
        source = SourceKept(psnr=30.0, loss=1.0 + excess(point), allowed=1.0) if excess else None
        done.append(record(number, point).model_copy(update={"objective": height(point), "source": source}))
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


RATES = grid((3e-5, 6e-5, 1e-4, 2e-4), (0, 3))


def test_a_gain_that_a_limit_on_forgetting_forbids_is_not_expected():
    free = gain_of(RATES, slope)
    kept = gain_of(RATES, slope, excess=lambda point: -1.0)
    assert kept == pytest.approx(free, rel=0.05), "every trial keeps the limit by far"
    forbidden = gain_of(RATES, slope, excess=lambda point: 3 * math.log10(point["learning_rate"] / 2e-4) + 0.05)
    assert forbidden < 0.6 * free, "higher rates gain more and probably forget more than is allowed"


def test_known_harm_is_no_gain():
    """Rates up to 3e-3 are 1.2 dB better than the best feasible one, and known to forget too much."""
    rates = grid((1e-4, 2e-4, 2.2e-4, 4e-4, 1e-3, 3e-3), (0, 6))
    tried = [{**point, "lambda_": lambda_} for point in rates for lambda_ in (1e-6, 1e-3, 1e-1)]
    told = gain_of(tried, slope, excess=lambda point: 3 * math.log10(point["learning_rate"] / 2.1e-4))
    assert 0 <= told < 0.1


def test_a_gain_is_over_the_best_feasible_trial():
    """The two best trials break the limit: what they have over the others can still be gained."""
    broken = gain_of(RATES, slope, excess=lambda point: 0.01 if point["learning_rate"] > 1e-4 else -0.01)
    assert broken > NOISE


def test_without_a_feasible_trial_no_gain_is_known():
    assert gain_of(RATES, slope, excess=lambda point: 0.1) is None
