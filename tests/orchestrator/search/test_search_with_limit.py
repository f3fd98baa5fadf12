"""A search that limits what the source may lose: constrained suggestions, records, and the best feasible trial."""

import json
import math

import formula_trials
import optuna
import pytest
import records as whole_records
from formula_trials import job_at, search

from orchestrator.experiment.settings import Search
from orchestrator.search import trial as trials
from orchestrator.search.divergence import PENALTY_DB
from orchestrator.search.result import search_result
from orchestrator.search.samplers import EXCESS
from orchestrator.search.source_limit import exceeded
from orchestrator.search.study import study_with
from orchestrator.search.trial_record import SourceKept, best_of_any, best_record, read_records

trained = formula_trials.trained
LIMIT = 1.0


@pytest.fixture(autouse=True)
def losses(trained, monkeypatch):
    """The source loses 1 dB at a learning rate of 3e-4, and twice as much at four times that rate."""

    def loss(job, net):
        rate = trained.configurations[-1].learning_rate
        lost = math.sqrt(rate / 3e-4)
        return 32 - lost, lost

    class Net:
        def to(self, device):
            return self

    inner = trials.run_finetuning
    monkeypatch.setattr(trials, "run_finetuning", lambda *a, **k: (Net(), inner(*a, **k)[1]))
    monkeypatch.setattr(trials, "source_loss", loss)


def limited(place, sampler="tpe", **changes):
    job = job_at(place, settings=Search(sampler=sampler, startup_trials=3, keep_source=LIMIT), **changes)
    job.domain.device = "cpu"
    return job


@pytest.mark.parametrize("sampler", ["gp", "tpe", "random"])
def test_every_finished_trial_tells_its_loss_to_record_and_sampler_alike(tmp_path, sampler):
    job = limited(tmp_path, sampler)
    study = search(job)
    found = read_records(job.records)
    for known in (study, optuna.load_study(**study_with(job, found))):
        for trial, record in zip(known.get_trials(), found, strict=True):
            if record.status == "finished":
                assert record.source.loss == pytest.approx(math.sqrt(record.configuration.learning_rate / 3e-4))
                assert trial.constraints == {EXCESS: pytest.approx(record.source.loss - LIMIT)}
            else:
                assert (record.source, trial.constraints) == (None, {EXCESS: PENALTY_DB})
    assert {record.status for record in found} >= {"finished"}


@pytest.mark.parametrize("sampler", ["gp", "tpe"])
def test_the_samplers_look_where_the_source_is_kept(tmp_path, sampler):
    """The formula's best rate, 6.3e-4, is infeasible: a sampler that heeds the limit stays below 3e-4."""
    heeding = limited(tmp_path / "with", sampler, trials=16)
    heedless = job_at(tmp_path / "without", settings=Search(sampler=sampler, startup_trials=3), trials=16)
    search(heeding)
    search(heedless)

    def late(job):
        return [r.configuration.learning_rate for r in read_records(job.records)[8:]]

    assert sum(rate <= 3.2e-4 for rate in late(heeding)) > sum(rate <= 3.2e-4 for rate in late(heedless)) + 1
    assert best_record(read_records(heeding.records)).source.loss <= LIMIT


def test_a_killed_search_goes_on_as_if_nothing_had_happened(tmp_path):
    unbroken, killed = limited(tmp_path / "unbroken", "gp"), limited(tmp_path / "killed", "gp")
    search(unbroken)
    for most in (2, 3, 9):
        search(killed, most)
    points = [[record.sampled for record in read_records(job.records)] for job in (unbroken, killed)]
    assert points[0] == points[1]


def test_without_a_limit_records_are_as_they_were(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "source_loss", None)
    job = job_at(tmp_path, settings=Search(sampler="random"))
    study = search(job)
    assert all("source" not in json.loads(file.read_bytes()) for file in tmp_path.glob("0*.json"))
    assert all(trial.constraints == {} for trial in study.get_trials())


def test_the_best_trial_is_the_best_feasible_one():
    def record(number, psnr, loss):
        kept = SourceKept(psnr=32 - loss, loss=loss, allowed=LIMIT)
        return whole_records.trial(number, psnr).model_copy(update={"source": kept})

    found = [record(0, 31.0, 2.5), record(1, 30.5, 1.0), record(2, 30.2, -0.1)]
    assert (best_record(found).number, best_of_any(found).number) == (1, 0)
    assert search_result(found).best.number == 1
    assert best_record(found[:1]) is None
    assert search_result(found[:1]).best is None


def test_a_study_without_a_feasible_trial_says_so():
    def record(number, loss):
        return whole_records.trial(number).model_copy(
            update={"source": SourceKept(psnr=32 - loss, loss=loss, allowed=LIMIT)}
        )

    assert exceeded([record(0, 2.5), record(1, 1.52)]) == (
        "; none kept the source: the least loss is 1.52 dB, search.keep_source allows 1 dB"
    )
    assert exceeded([record(0, 2.5), record(1, 1.0)]) == exceeded([whole_records.trial(0)]) == ""
