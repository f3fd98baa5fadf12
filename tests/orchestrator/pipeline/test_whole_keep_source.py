"""A run that limits what the source may lose, with adapters, from a model to the report: here, and on a real Ray."""

import pytest
import tiny_experiment
from rich.console import Console

from orchestrator.experiment.load import make_experiment
from orchestrator.foundation.model_store import read_model
from orchestrator.foundation.stage_record import read_result
from orchestrator.jobs.stage_jobs import Jobs
from orchestrator.pipeline.preflight import preflight
from orchestrator.pipeline.run import run_experiment
from orchestrator.report.build import read_report
from orchestrator.runtime.progress import Display
from orchestrator.runtime.task_runner import in_process
from orchestrator.search.result import SearchResult
from orchestrator.search.trial_record import best_record
from trainables.samples import write_samples

LIMIT = 0.05


def limited(folder):
    write_samples(folder / "images" / "satellite", "satellite", 9, 1, seed=3, size=(96, 96))
    search = {"trials": 5, "keep_source": LIMIT}
    content = tiny_experiment.settings(str(folder / "images"), str(folder / "runs"), search=search)
    content |= {"source": {"model": "base-x4"}}
    content["targets"] = {"satellite": content["targets"]["satellite"]}
    content["finetuning"] |= {"adapter_rank": 2}
    del content["network"], content["pretraining"]
    return make_experiment(content, "test")


def check(experiment, **how):
    run_experiment(experiment, preflight(experiment), Display(Console(record=True)), **how)
    records = Jobs(experiment).records("satellite")
    finished = [record for record in records if record.status == "finished"]
    assert len(records) == 5
    assert all(record.source.allowed == LIMIT for record in finished)
    best, found = best_record(records), read_result(Jobs(experiment).place("search", "satellite"), SearchResult)
    assert (found.best and found.best.number) == (best and best.number)

    report = read_report(experiment).domains["satellite"]
    assert [(t.number, t.loss, t.feasible) for t in report.forgetting.trials] == [
        (record.number, record.source.loss, record.feasible)
        for record in sorted(finished, key=lambda record: record.source.loss)
    ]
    answer = next(candidate for candidate in report.candidates if candidate.name == report.winner)
    assert answer.source_loss <= LIMIT
    assert any(candidate.source_loss not in (None, 0) for candidate in report.candidates)
    net, _ = read_model(experiment.home.child("models", "satellite"))
    assert not any("parametrizations" in name for name in net.state_dict())
    return [(record.sampled, record.source and record.source.loss) for record in records]


def test_a_limited_run_in_this_process(tmp_path):
    check(limited(tmp_path), start=in_process)


@pytest.mark.cluster
def test_a_limited_run_on_ray_suggests_what_one_in_this_process_does(tmp_path, ray_session):
    assert check(limited(tmp_path / "ray")) == check(limited(tmp_path / "here"), start=in_process)
