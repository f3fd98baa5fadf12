"""A trial that fails is run again before the sampler goes on, so that its study is the same as without the failure."""

import pytest
from formula_trials import job_at, trained  # noqa: F401 - a fixture
from ray.tune.search import Searcher

from orchestrator.experiment.feasibility import Resources
from orchestrator.foundation.storage import Storage
from orchestrator.runtime.task_runner import InProcessRunner
from orchestrator.search import trial as trials
from orchestrator.search.driver import drive_study
from orchestrator.search.samplers import FAILED
from orchestrator.search.study import searcher
from orchestrator.search.trial_record import read_records
from trainables.errors import RunError


def drive(job):
    return drive_study(job, InProcessRunner(Resources(2, 0, 0)))


def settled(records):
    return [(record.number, record.sampled, record.psnr, record.curve, record.origin) for record in records]


@pytest.fixture
def failing(monkeypatch):
    """Makes trials fail: so many times each, by the number of trainings before."""
    train, count, left = trials.run_finetuning, [0], {}

    def train_or_fail(job, configuration, seed, tell, **further):
        if left.get(count[0], 0) > 0:
            left[count[0]] -= 1
            raise OSError(5, "Input/output error")
        count[0] += 1
        return train(job, configuration, seed, tell, **further)

    monkeypatch.setattr(trials, "run_finetuning", train_or_fail)
    return left


def jobs(tmp_path, name):
    return job_at(tmp_path / name, scratch=Storage.at(str(tmp_path / f"{name}-scratch")))


def test_a_study_whose_trials_fail_now_and_then_has_the_same_trials(tmp_path, failing):
    calm = drive(jobs(tmp_path, "calm"))
    failing.update({number + 8: 2 for number in (0, 4, 6, 7)})  # more failures in all than tries of one trial
    assert settled(drive(jobs(tmp_path, "disturbed"))) == settled(calm)


def test_a_trial_that_fails_every_time_is_named_and_the_ones_before_are_kept(tmp_path, failing):
    job = jobs(tmp_path, "disturbed")
    failing[4] = 99
    with pytest.raises(RunError, match=r"trial 4 failed 3 times \(Input/output error\); 4 of 8 trials are kept"):
        drive(job)
    assert [record.number for record in read_records(job.records)] == [0, 1, 2, 3]
    assert failing[4] == 96


@pytest.mark.parametrize(("result", "error"), [(None, True), ({"psnr": 0.0, FAILED: "no memory"}, False)])
def test_nothing_is_suggested_after_a_failed_trial(tmp_path, result, error):
    search = searcher(jobs(tmp_path, "x"), [], [0, 1, 2])
    search.suggest("0")
    search.on_trial_complete("0", result, error)
    assert search._ot_study.trials[0].value is None
    assert search.suggest("1") == Searcher.FINISHED
