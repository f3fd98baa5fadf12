"""A diverged trial counts as worse than every finished one, whatever its record says."""

from types import SimpleNamespace

import optuna
import pytest
from optuna.trial import TrialState
from ray.tune.search.optuna import OptunaSearch
from records import trial
from test_searching_units import KINDS, study_job

from orchestrator.report.study_facts import importance
from orchestrator.search.divergence import PENALTY_DB, penalised
from orchestrator.search.samplers import (
    DIVERGED,
    NumberedSearch,
    RepeatableSampler,
    _seed_of,
    maximised,
    with_penalties,
)
from orchestrator.search.study import study_with


def test_the_penalty_is_below_bicubic_and_below_the_worst_finished_trial():
    assert PENALTY_DB == 3
    assert penalised([[25.0], [10.0], [22.0]], [False, False, True]) == [[25.0], [10.0], [7.0]]
    assert penalised([[25.0], [30.0], [22.0]], [False, False, True]) == [[25.0], [30.0], [22.0]]
    assert penalised([[21.0], [22.0]], [True, True]) == [[21.0], [22.0]]
    assert penalised([], []) == []


def test_with_two_objectives_every_finished_trial_dominates_a_diverged_one():
    """A shortened network that diverged is the fastest of all: its speed must not put it on the front."""
    values = [[25.0, 1.0], [24.0, 2.0], [22.0, 9.0]]
    assert penalised(values, [False, False, True]) == [[25.0, 1.0], [24.0, 2.0], [21.0, 1.0]]


def entry(number, objective, status="finished", **sampled):
    point = {"learning_rate": 10 ** (-4 + number / 20), "lambda_": 1e-4, "frozen_depth": number % 3} | sampled
    return trial(number, status=status, sampled=point, objective=objective)


RECORDS = [entry(0, 25.0), entry(1, 12.0), entry(2, 20.0, "diverged"), entry(3, 24.0), entry(4, None, "stopped")]


def seen_by_a_sampler(study):
    return [trial.values for trial in with_penalties(study).get_trials(states=[TrialState.COMPLETE])]


def test_a_sampler_sees_divergence_below_a_bad_trial_that_finished():
    study = optuna.load_study(**study_with(study_job(), RECORDS))
    assert seen_by_a_sampler(study) == [[25.0], [12.0], [9.0], [24.0]]
    assert study.trials[2].value == 20.0, "the record's own value stays"
    assert with_penalties(study).trials[4].state == TrialState.FAIL


def test_a_worse_trial_that_finishes_later_lowers_it_again():
    study = optuna.load_study(**study_with(study_job(), [*RECORDS[:4], entry(4, 5.0)]))
    assert seen_by_a_sampler(study) == [[25.0], [12.0], [2.0], [24.0], [5.0]]


def test_without_divergence_the_study_itself_is_seen():
    study = optuna.load_study(**study_with(study_job(), RECORDS[:2]))
    assert with_penalties(study) is study


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_with_the_same_values_suggests_the_same(kind, monkeypatch):
    job = study_job(starts=())
    records = [entry(0, 25.0), entry(1, 24.0), entry(2, 20.0, "diverged"), entry(3, 23.5)]

    def suggested():
        study = optuna.load_study(sampler=RepeatableSampler(kind, 5, 3), **study_with(job, records))
        return [study.ask(fixed_distributions=job.distributions()).params for _ in range(2)]

    copied = suggested()
    monkeypatch.setattr("orchestrator.search.samplers.with_penalties", lambda study: study)
    assert suggested() == copied


def search_on(job, records, numbers):
    return NumberedSearch(
        numbers,
        space=job.distributions(),
        **maximised(job.objectives),
        sampler=RepeatableSampler("gp", job.seed, 3),
        **study_with(job, records),
    )


@pytest.mark.parametrize("objectives", [("psnr",), ("psnr", "speed")])
def test_a_running_search_and_a_resumed_one_see_the_same(objectives):
    two = len(objectives) == 2
    shortening = SimpleNamespace(kept_blocks=(1, 4), speeds={1: 4.0, 2: 3.0, 3: 2.0, 4: 1.0}) if two else None
    job = study_job(starts=(), shortening=shortening)
    ended = [(25.0, 1.0, "finished"), (20.0, 9.0, "diverged"), (11.0, 2.0, "finished"), (24.0, 3.0, "finished")]
    search, records = search_on(job, [], range(6)), []
    for number, (psnr, speed, status) in enumerate(ended):
        config = search.suggest(str(number))
        result = {"psnr": psnr, "speed": speed, "stopped": False, DIVERGED: status == "diverged"}
        search.on_trial_complete(str(number), result)
        point = {name: config[name] for name in job.distributions()}
        records.append(trial(number, status=status, sampled=point, objective=psnr, speed=speed))
    resumed = search_on(job, records, [4, 5])
    worst = [8.0, 1.0] if two else [8.0]
    assert seen_by_a_sampler(search._ot_study) == seen_by_a_sampler(resumed._ot_study)
    assert seen_by_a_sampler(resumed._ot_study)[1] == worst
    assert search.suggest("4") == resumed.suggest("4")


def test_importance_counts_divergence_alike():
    job = study_job()
    records = [entry(n, 20.0 + n / 10) for n in range(20)]
    diverged = [*records[:-1], entry(19, 40.0, "diverged")]
    low = [*records[:-1], entry(19, 17.0)]
    assert importance(diverged, job.distributions()) == importance(low, job.distributions())


STOPPED = {"psnr": 20.0, "stopped": True}


@pytest.mark.parametrize(
    ("result", "arguments", "state", "value"),
    [
        ({"psnr": 20.0, "stopped": False}, {}, TrialState.COMPLETE, 20.0),
        ({"psnr": 20.0}, {}, TrialState.COMPLETE, 20.0),
        (STOPPED, {}, TrialState.FAIL, None),
        (STOPPED, {"error": False}, TrialState.FAIL, None),
        (None, {"error": True}, TrialState.FAIL, None),
        (None, {}, TrialState.PRUNED, None),
    ],
)
def test_only_trials_that_ended_by_themselves_have_a_value(result, arguments, state, value):
    search = search_on(study_job(starts=()), [], [0])
    search.suggest("0")
    search.on_trial_complete("0", result, **arguments)
    [trial] = search._ot_study.trials
    assert (trial.state, trial.value) == (state, value)
    assert DIVERGED not in trial.user_attrs


def test_a_searcher_that_suggests_nothing_uses_up_no_number(monkeypatch):
    search = search_on(study_job(starts=()), [], [4])
    monkeypatch.setattr(OptunaSearch, "suggest", lambda *_: None)
    assert search.suggest("0") is None
    monkeypatch.undo()
    assert search.suggest("1")["number"] == 4


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("random", optuna.samplers.RandomSampler),
        ("tpe", optuna.samplers.TPESampler),
        ("gp", optuna.samplers.GPSampler),
    ],
)
def test_each_kind_is_optuna_s_sampler_seeded_by_seed_and_number(kind, expected, monkeypatch):
    made = []
    monkeypatch.setattr(optuna.samplers, expected.__name__, lambda **settings: made.append(settings) or len(made))
    sampler = RepeatableSampler(kind, 2, 7)
    for number in (0, 1, 1, 3):
        sampler._for(SimpleNamespace(number=number))
    seeds = [settings.pop("seed") for settings in made]
    assert seeds[-3:] == [200_006, 200_007, 200_009]
    assert made[-1] == ({} if kind == "random" else {"n_startup_trials": 7})
    first = RepeatableSampler(kind, 2, 7)._for(SimpleNamespace(number=1))
    assert made[first - 1]["seed"] == 200_007, "a resumed study may begin with any number"


def test_one_objective_is_a_value_and_several_are_lists():
    assert maximised(("psnr",)) == {"metric": "psnr", "mode": "max"}
    assert maximised(("psnr", "speed")) == {"metric": ["psnr", "speed"], "mode": ["max", "max"]}


def test_a_copy_has_the_directions_and_every_trial_and_leaves_optuna_s_log_as_it_was():
    study = optuna.load_study(**study_with(study_job(), RECORDS))
    before = optuna.logging.get_verbosity()
    try:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        copy = with_penalties(study)
        assert optuna.logging.get_verbosity() == optuna.logging.ERROR
    finally:
        optuna.logging.set_verbosity(before)
    assert copy.directions == study.directions
    assert [trial.params for trial in copy.trials] == [trial.params for trial in study.trials]


def test_seeds_are_below_2_to_the_32_and_the_greatest_is_its_own():
    assert _seed_of(42_948, 2**32 - 1 - 42_948 * 100_003) == 2**32 - 1
    assert _seed_of(42_948, 2**32 - 42_948 * 100_003) == 1_813_816_320
    assert _seed_of(20_251_128, 5) == 3_389_823_855
