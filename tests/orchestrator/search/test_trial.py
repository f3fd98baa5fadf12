"""Trials of a study, one at a time, without a cluster: stopped early, killed and resumed, extended."""

import json

import formula_trials
import optuna
import pytest
from formula_trials import DEFAULT, job_at, search
from optuna.trial import TrialState

from orchestrator.confirm.candidates import candidates_of
from orchestrator.experiment.settings import Search
from orchestrator.search.study import study_with
from orchestrator.search.trial_record import best_record, read_records

trained = formula_trials.trained


def timeless(job):
    return [
        record.model_copy(update={"seconds": 0.0, "cpu_seconds": None, "finished_at": ""})
        for record in read_records(job.records)
    ]


@pytest.mark.parametrize("stopping", ["none", "asha"])
def test_a_killed_search_has_the_trials_of_an_unbroken_one(tmp_path, trained, stopping):
    settings = Search(sampler="tpe", startup_trials=3, stopping=stopping, reduction_factor=2, grace=1)
    unbroken = job_at(tmp_path / "unbroken", settings=settings)
    search(unbroken)
    again = job_at(tmp_path / "again", settings=settings)
    search(again)
    assert timeless(again) == timeless(unbroken)
    statuses = {record.status for record in timeless(unbroken)}
    assert statuses >= {"finished", "stopped" if stopping == "asha" else "diverged"}

    killed = job_at(tmp_path / "killed", settings=settings)
    before = len(trained.configurations)
    for most in (1, 2, 1, 3, 9):
        search(killed, most)
    assert timeless(killed) == timeless(unbroken)
    assert len(trained.configurations) - before == killed.trials, "a trial that had ended was run again"


def test_a_stopped_trial_neither_wins_nor_teaches(tmp_path):
    job = job_at(tmp_path)
    study = search(job)
    records = read_records(job.records)
    stopped = [record for record in records if record.status == "stopped"]
    assert stopped[0].number == 1
    assert (stopped[0].psnr, stopped[0].objective, len(stopped[0].curve)) == (None, None, 1)
    for known in (study, optuna.load_study(**study_with(job, records))):
        told = known.get_trials()
        assert [trial.state for trial in told] == [
            TrialState.FAIL if record.status == "stopped" else TrialState.COMPLETE for record in records
        ]
        assert [trial.value for trial in told] == [record.objective for record in records]
    assert best_record(records).status == "finished"
    names = {candidate.name for candidate in candidates_of(records, 99, DEFAULT)}
    assert names.isdisjoint(f"trial-{record.number}" for record in stopped)


def test_a_record_says_where_its_configuration_comes_from(tmp_path):
    job = job_at(tmp_path, settings=Search(sampler="random"))
    search(job)
    assert [r.origin for r in read_records(job.records)] == ["default", "advice", "sibling"] + ["sampler"] * 5
    assert json.loads((tmp_path / "0002.json").read_bytes())["configuration"]["learning_rate"] == 8e-4


def test_an_extended_study_goes_on_as_one_that_was_longer_from_the_start(tmp_path):
    longer = job_at(tmp_path / "longer", trials=11)
    search(longer)
    extended = job_at(tmp_path / "extended", trials=8)
    search(extended)
    search(job_at(tmp_path / "extended", trials=11))
    assert timeless(extended) == timeless(longer)
