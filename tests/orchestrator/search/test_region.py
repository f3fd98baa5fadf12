"""A sampler suggests near the best trial, wherever that is."""

import math
from types import SimpleNamespace

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from test_searching_units import KINDS, record, study_job

from orchestrator.search.region import Region
from orchestrator.search.samplers import RepeatableSampler, near, seed_of_study
from orchestrator.search.study import study_with

SPACE = {
    "learning_rate": FloatDistribution(3e-5, 3e-3, log=True),
    "lambda_": FloatDistribution(1e-6, 1e-1, log=True),
    "frozen_depth": IntDistribution(0, 9),
    "kept_blocks": IntDistribution(2, 8),
}
BEST = {"learning_rate": 1e-3, "lambda_": 1e-3, "frozen_depth": 4, "kept_blocks": 8}


def ends(space):
    return {name: (part.low, part.high) for name, part in space.items()}


def test_around_a_point_within_the_space_and_of_settings_it_does_not_know_everything():
    assert ends(Region(1e-5).around(BEST, SPACE)) == {
        "learning_rate": (2.5e-4, 3e-3),
        "lambda_": (pytest.approx(1e-3 / 30), pytest.approx(3e-2)),
        "frozen_depth": (1, 7),
        "kept_blocks": (2, 8),
    }


def test_beside_no_regularizer_lie_none_and_small_ones():
    near = ends(Region(1e-5).around(BEST | {"lambda_": 1e-6, "frozen_depth": 0}, SPACE))
    assert near["lambda_"] == (1e-6, pytest.approx(3e-4))
    assert near["frozen_depth"] == (0, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_every_suggestion_lies_around_the_best_finished_trial(kind):
    job = study_job()
    points = [
        {"learning_rate": 1e-4, "lambda_": 1e-6, "frozen_depth": 0},
        {"learning_rate": 2e-3, "lambda_": 1e-2, "frozen_depth": 5},
        {"learning_rate": 1e-3, "lambda_": 1e-6, "frozen_depth": 2},
        {"learning_rate": 9e-4, "lambda_": 1e-5, "frozen_depth": 1},
    ]
    done = [record(number, point) for number, point in enumerate(points)]
    for seed in range(4):
        sampler = RepeatableSampler(kind, seed, 2, Region(job.lambda_floor))
        study = optuna.load_study(sampler=sampler, **study_with(job, done))
        best = max(done, key=lambda one: one.objective).sampled
        asked = study.ask(fixed_distributions=job.distributions()).params
        assert math.exp(abs(math.log(asked["learning_rate"] / best["learning_rate"]))) <= 4 * (1 + 1e-9)
        assert abs(asked["frozen_depth"] - best["frozen_depth"]) <= 3
        assert asked["lambda_"] <= 30 * max(best["lambda_"], job.lambda_floor)


def test_a_diverged_trial_is_not_what_suggestions_stay_near():
    job = study_job()
    point = {"learning_rate": 1e-4, "lambda_": 1e-6, "frozen_depth": 0}
    diverged = record(1, point | {"learning_rate": 3e-3}).model_copy(update={"status": "diverged", "objective": 99.0})
    study = optuna.load_study(**study_with(job, [record(0, point), diverged]))
    assert ends(near(study, job.distributions(), job.region))["learning_rate"] == (3e-5, 4e-4)


def test_with_two_objectives_and_without_a_trial_the_space_is_whole():
    job = study_job()
    empty = optuna.load_study(**study_with(job, []))
    assert near(empty, job.distributions(), job.region) == job.distributions()
    of_two = study_job(shortening=SimpleNamespace())
    assert of_two.objectives == ("psnr", "speed")
    study = optuna.load_study(**study_with(job, [record(0, job.start_points()[0])]))
    assert near(study, job.distributions(), of_two.region) == job.distributions()


def test_domains_have_randomness_of_their_own():
    assert seed_of_study(0, "art") == seed_of_study(0, "art")
    assert len({seed_of_study(seed, domain) for seed in (0, 1) for domain in ("art", "medical")}) == 4
