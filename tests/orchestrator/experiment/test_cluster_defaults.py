"""An experiment fills the GPUs that its cluster has or may grow to."""

import json

import pytest

from orchestrator.experiment.load import make_experiment


def load(**sections):
    targets = {name: {"images": name} for name in ("medical", "satellite")}
    return make_experiment({"name": "mine", "source": {"images": "a"}, "targets": targets, **sections}, "here")


@pytest.mark.parametrize(
    ("gpus", "per_worker", "per_trial", "workers", "concurrent"),
    [
        (8, 1, 0.5, 8, 8),
        (8, 2, 1, 4, 4),
        (8, 0, 0, 2, 1),
        (3, 1, 1, 3, 1),
        (8, 1, 0.4, 8, 8),
        (1, 1, 0.5, 1, 1),
        (8, 1, 16, 8, 1),
    ],
)
def test_workers_and_trials_fill_the_gpus(gpus, per_worker, per_trial, workers, concurrent):
    found = load(
        cluster={"gpus": gpus},
        pretraining={"gpus_per_worker": per_worker},
        search={"gpus_per_trial": per_trial},
        finetuning={"batch": 16},
    )
    assert (found.pretraining.workers, found.search.concurrent_trials) == (workers, concurrent)


def test_what_is_stated_stays_and_an_unknown_cluster_changes_nothing():
    stated = load(
        cluster={"gpus": 8},
        pretraining={"gpus_per_worker": 1, "workers": 3},
        search={"gpus_per_trial": 1, "concurrent_trials": 1},
    )
    assert (stated.pretraining.workers, stated.search.concurrent_trials) == (3, 1)
    unknown = load(pretraining={"gpus_per_worker": 1}, search={"gpus_per_trial": 1})
    assert (unknown.pretraining.workers, unknown.search.concurrent_trials) == (2, 1)


def test_a_source_model_is_no_hindrance():
    found = load(source={"model": "base-x4"}, cluster={"gpus": 8}, search={"gpus_per_trial": 1})
    assert found.search.concurrent_trials == 4


def test_an_experiment_keeps_the_workers_that_it_began_with(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "experiment.json").write_text(json.dumps({"settings": {"pretraining": {"workers": 8}}}))
    settings = {"storage": str(tmp_path), "cluster": {"gpus": 4}}
    assert load(**settings, pretraining={"gpus_per_worker": 1}).pretraining.workers == 8
    assert load(**settings, pretraining={"gpus_per_worker": 1, "workers": 4}).pretraining.workers == 4
    assert load(**settings).pretraining.workers == 2
