"""Trials whose score is a formula of their configuration, run one after the other."""

import math
from types import SimpleNamespace

import pytest

from orchestrator.experiment.settings import Search
from orchestrator.foundation.storage import Storage
from orchestrator.runtime.progress_updates import NO_PROGRESS
from orchestrator.search import trial as trials
from orchestrator.search.starts import Start
from orchestrator.search.study import StudyJob, searcher
from orchestrator.search.trial_record import read_records
from orchestrator.search.trials_in_turn import run_suggested
from trainables.errors import DivergedError
from trainables.loops.settings import Budget, TransferConfiguration

DEFAULT = TransferConfiguration(learning_rate=1e-4, lambda_=0.0, frozen_depth=0)
SLOW = TransferConfiguration(learning_rate=5e-5, lambda_=1e-3, frozen_depth=2)
SIBLING = TransferConfiguration(learning_rate=8e-4, lambda_=0.0, frozen_depth=1)


@pytest.fixture(autouse=True)
def trained(monkeypatch):
    """Fine-tuning as a formula: the end depends on the learning rate and depth, and more than 1.2e-3 diverges."""
    told = SimpleNamespace(configurations=[])

    def train(job, configuration, seed, tell, watch, **_):
        told.configurations.append(configuration)
        if configuration.learning_rate > 1.2e-3:
            raise DivergedError("not finite")
        end = 30 - (math.log10(configuration.learning_rate) + 3.2) ** 2 - 0.1 * configuration.frozen_depth
        curve = []
        for step in job.budget.evaluation_steps():
            curve.append((step, end - 2 * math.exp(-step / 3)))
            watch(*curve[-1])
        return None, curve

    monkeypatch.setattr(trials, "run_finetuning", train)
    monkeypatch.setattr(trials, "bicubic_psnr", lambda job: 23.0)
    return told


def job_at(place, **changes):
    settings = {
        "domain": SimpleNamespace(domain="satellite", budget=Budget(steps=8, batch=1, evaluations=4)),
        "settings": Search(sampler="tpe", startup_trials=3, stopping="asha", reduction_factor=2, grace=1),
        "trials": 8,
        "seed": 5,
        "learning_rate": (3e-5, 3e-3),
        "lambda_": (1e-6, 1e-1),
        "lambda_floor": 1e-5,
        "frozen_depth": (0, 6),
        "starts": (Start("default", DEFAULT), Start("advice", SLOW), Start("sibling", SIBLING, "art of other")),
        "records": Storage.at(str(place)),
        "scratch": Storage("/nowhere"),
        "progress": NO_PROGRESS,
    }
    return StudyJob(**settings | changes)


def search(job, most=99):
    """Runs at most so many missing trials one after the other; then the driver is gone. Gives the Optuna study."""
    records = read_records(job.records)
    missing = sorted(set(range(job.trials)) - {record.number for record in records})
    suggested = searcher(job, records, missing[:most])
    run_suggested(suggested, job)
    return suggested._ot_study
