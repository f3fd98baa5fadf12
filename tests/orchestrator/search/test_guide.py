"""A study while it runs: finds of siblings, and an end that is decided and recorded."""

from types import SimpleNamespace

import optuna
import pytest
from test_searching_units import record, study_job

from orchestrator.experiment.settings import Search
from orchestrator.foundation.stage_record import finish_stage
from orchestrator.foundation.storage import Storage
from orchestrator.search import driver, expected_gain, trials_in_turn
from orchestrator.search.guide import StudyEnd, StudyGuide, read_end
from orchestrator.search.result import BestTrial, SearchResult
from orchestrator.search.study import searcher
from orchestrator.search.trial_record import read_records
from trainables.loops.settings import TransferConfiguration

FOUND = TransferConfiguration(learning_rate=2e-3, lambda_=0.0, frozen_depth=9)


def job_in(folder, **changes):
    home = Storage.at(str(folder))
    settings = {"records": home.child("search", "satellite", "study"), "home": home, "siblings": ("art", "medical")}
    return study_job(**settings | changes)


def none():
    """A study without a trial."""
    return optuna.create_study(direction="maximize")


def finish(home, domain, configuration=FOUND):
    best = BestTrial(number=0, configuration=configuration, psnr=30.0)
    finish_stage(
        "search", home.child("search", domain), "", 0.0, SearchResult(trials=1, trial_seconds=1, best=best).plain()
    )


def finished(job, count):
    for number in range(count):
        record(number, {"learning_rate": 1e-4 * (number + 1), "lambda_": 1e-6, "frozen_depth": 0}).write(
            job.records.child(f"{number:04d}.json")
        )
    return read_records(job.records)


def test_a_sibling_s_best_is_tried_once_after_the_starts_and_moved_into_the_space(tmp_path):
    job = job_in(tmp_path)
    guide = StudyGuide(job)
    assert guide.given(none(), 3) is None  # nobody has finished
    finish(job.home, "medical")
    assert guide.given(none(), 1) is None  # that number is a start's
    assert guide.given(none(), 3) == ("sibling", {"learning_rate": 2e-3, "lambda_": 1e-6, "frozen_depth": 6})
    assert guide.given(none(), 4) is None  # medical was told
    finish(job.home, "art", FOUND)
    assert guide.given(none(), 4) is None  # the same configuration
    finish(job.home, "art", TransferConfiguration(learning_rate=7e-4, lambda_=1e-3, frozen_depth=1))
    assert guide.given(none(), 4) == ("sibling", {"learning_rate": 7e-4, "lambda_": 1e-3, "frozen_depth": 1})


def test_a_resumed_study_gives_what_it_gave_before(tmp_path):
    job = job_in(tmp_path)
    finish(job.home, "medical")
    first = StudyGuide(job).given(none(), 3)
    finish(job.home, "medical", TransferConfiguration(learning_rate=1e-4, lambda_=0.0, frozen_depth=0))
    finish(job.home, "art")
    assert StudyGuide(job).given(none(), 3) == first
    assert StudyGuide(job_in(tmp_path, known={3: {}})).given(none(), 3) is None  # a lost trial is run again as it was


def test_the_next_suggestion_is_the_sibling_s_point(tmp_path):
    job = job_in(tmp_path)
    done = finished(job, 4)
    finish(job.home, "medical")
    search = searcher(job, done, [4, 5])
    config = search.suggest("a")
    assert (config["number"], config["origin"], config["learning_rate"]) == (4, "sibling", 2e-3)
    assert "origin" not in search.suggest("b")


AUTO = Search(trials="auto", most_trials=8, startup_trials=3)


@pytest.mark.parametrize(("gain", "ended"), [(0.019, True), (0.021, False), (None, False)])
def test_a_study_ends_where_the_expected_gain_is_below_the_noise(tmp_path, monkeypatch, gain, ended):
    job = job_in(tmp_path, settings=AUTO, ends_early=True)
    monkeypatch.setattr(expected_gain, "expected_gain", lambda study, space, noise: gain)
    search = searcher(job, finished(job, 6), [6, 7])
    suggested = search.suggest("a")
    assert (suggested == "FINISHED") is ended
    assert read_end(job.records) == (StudyEnd(trials=6, expected_gain=0.019, noise=0.02) if ended else None)
    assert (search.suggest("b") is None) is ended


def test_it_never_ends_before_a_model_can_tell_nor_with_a_number_of_trials(tmp_path, monkeypatch):
    monkeypatch.setattr(expected_gain, "expected_gain", lambda study, space, noise: 0.0)
    early = job_in(tmp_path, settings=AUTO, ends_early=True)
    assert not StudyGuide(early).ends(None, 5)
    assert not StudyGuide(job_in(tmp_path)).ends(None, 7)


def test_the_driver_stops_at_the_recorded_end_and_runs_what_is_missing_before_it(tmp_path, monkeypatch):
    job = job_in(tmp_path, settings=AUTO, ends_early=True, siblings=(), scratch=Storage.at(str(tmp_path / "ray")))
    ran = []

    def run_trial(config, job):
        ran.append(config["number"])
        sampled = {name: config[name] for name in job.distributions()}
        record(config["number"], sampled).write(job.records.child(f"{config['number']:04d}.json"))
        return {"psnr": 30.0}

    monkeypatch.setattr(trials_in_turn, "run_trial", run_trial)
    monkeypatch.setattr(expected_gain, "expected_gain", lambda study, space, noise: 0.0)
    runner = SimpleNamespace(distributed=False)
    records = driver.drive_study(job, runner)
    assert [one.number for one in records] == ran == [0, 1, 2, 3, 4, 5]
    job.records.child("0002.json").delete()
    ran.clear()
    assert len(driver.drive_study(job, runner)) == 6
    assert ran == [2]
