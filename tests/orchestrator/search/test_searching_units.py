"""What a study is made of, without a cluster: repeatable suggestions, start points, numbers, candidates."""

import math
from types import SimpleNamespace

import optuna
import pytest
import records
from optuna.trial import TrialState

from orchestrator.confirm.candidates import candidates_of
from orchestrator.experiment.settings import Search
from orchestrator.foundation.storage import Storage
from orchestrator.runtime.progress_updates import NO_PROGRESS
from orchestrator.search import trial as trials
from orchestrator.search.samplers import NumberedSearch, RepeatableSampler, _seed_of
from orchestrator.search.starts import Start
from orchestrator.search.study import StudyJob, study_with
from orchestrator.search.trial_record import read_records
from trainables.loops.objective import effective_lambda
from trainables.loops.settings import TransferConfiguration

KINDS = ("gp", "tpe", "random")
DEFAULT = TransferConfiguration(learning_rate=1e-4, lambda_=0.0, frozen_depth=0)
START = TransferConfiguration(learning_rate=1e-3, lambda_=1e-4, frozen_depth=2)


def study_job(**changes):
    settings = {
        "domain": SimpleNamespace(domain="satellite"),
        "settings": Search(startup_trials=3),
        "trials": 8,
        "seed": 5,
        "learning_rate": (3e-5, 3e-3),
        "lambda_": (1e-6, 1e-1),
        "lambda_floor": 1e-5,
        "frozen_depth": (0, 6),
        "starts": (Start("default", DEFAULT), Start("start", START)),
        "records": Storage("/nowhere"),
        "scratch": Storage("/nowhere"),
        "progress": NO_PROGRESS,
    }
    return StudyJob(**settings | changes)


def score(params):
    return 30 - (math.log10(params["learning_rate"]) + 3.2) ** 2 - 0.1 * params["frozen_depth"]


def record(number, params):
    return records.trial(number, sampled=params, objective=score(params))


def take(job, done, sampler, count):
    """Goes on with a study after ``done``, as a search does: asks, scores, tells."""
    made = study_with(job, done)
    study = optuna.load_study(sampler=sampler, **made)
    found = list(done)
    for _ in range(count):
        trial = study.ask(fixed_distributions=job.distributions())
        study.tell(trial, score(trial.params))
        found.append(record(trial.number, trial.params))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_study_suggests_what_an_unbroken_one_would(kind):
    job = study_job()

    def sampler():
        return RepeatableSampler(kind, job.seed, 3)

    unbroken = take(job, [], sampler(), 7)
    for stop in (1, 4):
        assert take(job, unbroken[:stop], sampler(), 7 - stop) == unbroken, f"stopped after {stop}"
    shared = sampler()
    assert take(job, take(job, [], shared, 4), shared, 3) == unbroken
    assert [entry.number for entry in unbroken] == list(range(7))
    assert len({str(entry.sampled) for entry in unbroken}) == 7


@pytest.mark.parametrize("kind", KINDS)
def test_another_seed_or_history_suggests_otherwise(kind):
    job = study_job()
    history, other = (take(job, [], RepeatableSampler(kind, seed, 3), 6) for seed in (5, 6))
    assert history[:2] == other[:2]  # the starts
    assert history[2] != other[2]
    if kind != "random":
        mirrored = [entry.model_copy(update={"objective": -entry.objective}) for entry in history[:5]]
        assert take(job, mirrored, RepeatableSampler(kind, 5, 3), 1)[-1].sampled != history[5].sampled


@pytest.mark.parametrize("done", [(), (0,), (1,), (0, 1)])
def test_a_study_tries_the_remaining_starts_and_holds_the_finished_trials(done):
    job = study_job()
    ended = [record(number, job.start_points()[number]) for number in done]
    study = optuna.load_study(**study_with(job, ended))
    finished = study.get_trials(states=[TrialState.COMPLETE])
    assert [(trial.params, trial.value) for trial in finished] == [(r.sampled, r.objective) for r in ended]
    waiting = [trial.system_attrs["fixed_params"] for trial in study.get_trials(states=[TrialState.WAITING])]
    assert waiting == [point for number, point in enumerate(job.start_points()) if number not in done]
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    asked = [study.ask(fixed_distributions=job.distributions()).params for _ in waiting]
    assert asked == waiting


def test_no_more_starts_than_trials():
    job = study_job(trials=1)
    study = optuna.load_study(**study_with(job, []))
    assert len(study.get_trials(states=[TrialState.WAITING])) == 1


def test_start_points_encode_no_regularizer_below_the_floor():
    job = study_job()
    default, start = job.start_points()
    assert default == {"learning_rate": 1e-4, "lambda_": 1e-6, "frozen_depth": 0}
    assert effective_lambda(default["lambda_"], job.lambda_floor) == 0.0
    assert start == {"learning_rate": 1e-3, "lambda_": 1e-4, "frozen_depth": 2}
    assert effective_lambda(start["lambda_"], job.lambda_floor) == START.lambda_


def test_start_points_are_moved_into_narrower_ranges():
    job = study_job(learning_rate=(5e-4, 8e-4), lambda_=(1e-3, 1e-1), lambda_floor=1e-2, frozen_depth=(1, 1))
    assert job.start_points() == [
        {"learning_rate": 5e-4, "lambda_": 1e-3, "frozen_depth": 1},
        {"learning_rate": 8e-4, "lambda_": 1e-3, "frozen_depth": 1},
    ]
    for point in job.start_points():
        assert all(space._contains(space.to_internal_repr(point[name])) for name, space in job.distributions().items())


def test_without_lambda_two_settings_are_searched_and_the_record_says_zero(monkeypatch, tmp_path):
    job = study_job(lambda_=None, records=Storage(str(tmp_path)))
    assert list(job.distributions()) == ["learning_rate", "frozen_depth"]
    assert job.start_points()[1] == {"learning_rate": 1e-3, "frozen_depth": 2}
    trained = []
    monkeypatch.setattr(
        trials,
        "run_finetuning",
        lambda domain, configuration, *_, **__: trained.append(configuration) or (None, [(1, 30.0)]),
    )
    trials.run_trial({"learning_rate": 2e-4, "frozen_depth": 3, "number": 4}, job)
    (record,) = read_records(job.records)
    assert trained == [TransferConfiguration(learning_rate=2e-4, lambda_=0.0, frozen_depth=3)]
    assert record.sampled == {"learning_rate": 2e-4, "frozen_depth": 3}
    study = optuna.load_study(**study_with(job, [record]))
    assert study.best_trial.params == record.sampled


def test_exactly_three_settings_are_searched():
    spaces = study_job().distributions()
    assert list(spaces) == ["learning_rate", "lambda_", "frozen_depth"]
    assert [spaces[name].log for name in spaces] == [True, True, False]


def test_each_suggestion_takes_the_next_missing_number():
    job = study_job()
    search = NumberedSearch(
        [3, 5, 6],
        space=job.distributions(),
        metric="psnr",
        mode="max",
        sampler=RepeatableSampler("random", 0, 3),
        **study_with(job, []),
    )
    suggested = [search.suggest(f"trial{i}") for i in range(4)]
    assert [config and config["number"] for config in suggested] == [3, 5, 6, None]
    assert {name: suggested[0][name] for name in job.distributions()} == job.start_points()[0]
    assert {name: suggested[1][name] for name in job.distributions()} == job.start_points()[1]


def trial(number, psnr, configuration, status="finished"):
    return records.trial(number, psnr, status, configuration=configuration)


def rate(value):
    return TransferConfiguration(learning_rate=value, lambda_=0.0, frozen_depth=1)


class TestCandidates:
    """What stands for confirmation."""

    RECORDS = (
        trial(0, 30.0, DEFAULT),
        trial(1, 29.0, rate(1e-3)),
        trial(2, 31.0, rate(2e-3)),
        trial(3, None, rate(3e-3), status="diverged"),
        trial(4, 32.0, rate(4e-3)),
    )

    def told(self, trials, top):
        found = candidates_of(trials, top, DEFAULT)
        configurations = [candidate.configuration for candidate in found]
        assert len(set(configurations)) == len(configurations)
        return [(candidate.name, candidate.search_psnr) for candidate in found]

    def test_best_first_then_the_default_then_the_source(self):
        assert self.told(self.RECORDS, 2) == [
            ("trial-4", 32.0),
            ("trial-2", 31.0),
            ("default", 30.0),
            ("zero_shot", None),
        ]

    def test_the_default_among_the_best_stands_once_and_takes_no_place(self):
        assert self.told(self.RECORDS, 3) == [
            ("trial-4", 32.0),
            ("trial-2", 31.0),
            ("trial-1", 29.0),
            ("default", 30.0),
            ("zero_shot", None),
        ]

    def test_a_configuration_stands_once(self):
        again = (*self.RECORDS, trial(5, 31.5, rate(4e-3)))
        assert self.told(again, 3)[:2] == [("trial-4", 32.0), ("trial-2", 31.0)]

    def test_diverged_trials_never_stand(self):
        assert [name for name, _ in self.told(self.RECORDS, 99)] == [
            "trial-4",
            "trial-2",
            "trial-1",
            "default",
            "zero_shot",
        ]

    def test_without_any_finished_trial_default_and_source_remain(self):
        assert self.told((trial(0, None, DEFAULT, status="diverged"),), 2) == [("default", None), ("zero_shot", None)]

    def test_the_source_has_no_configuration(self):
        assert candidates_of(self.RECORDS, 1, DEFAULT)[-1].configuration is None


@pytest.mark.parametrize("kind", ["gp", "tpe", "random"])
@pytest.mark.parametrize("seed", [0, 42_948, 42_949, 20251128, 2**32, 2**63 - 1])
def test_any_seed_suggests(kind, seed):
    study = optuna.create_study(sampler=RepeatableSampler(kind, seed, 1))
    for _ in range(2):
        trial = study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
        study.tell(trial, trial.params["x"])


def test_seeds_that_worked_before_give_the_same_trials():
    assert [_seed_of(0, 7), _seed_of(3, 7), _seed_of(42_948, 99)] == [7, 300_016, 42_948 * 100_003 + 99]
    beyond = [_seed_of(seed, number) for seed in (42_949, 20251128, 20251128 + 2**32) for number in range(100)]
    assert len(set(beyond)) == 300
    assert max(beyond) < 2**32
