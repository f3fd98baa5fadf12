"""What the stages are told of the transfer method."""

import pytest
import tiny_experiment
import tiny_models

from orchestrator.experiment.settings import Experiment
from orchestrator.jobs import stage_jobs as module
from orchestrator.jobs.stage_jobs import Jobs
from orchestrator.jobs.study_starts import study_starts
from orchestrator.report.build import _notes, _protocol
from search_spaces import PORTFOLIO
from trainables.loops.settings import TransferMethod


def study_of(jobs):
    return jobs.study("satellite", study_starts(jobs, "satellite"), None)


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    """Jobs of an experiment with other fine-tuning settings; shards need not be there."""
    monkeypatch.setattr(module, "read_manifest", lambda place: {"digest": place.uri})
    monkeypatch.setattr(module, "digest_of_test", lambda locked, shards: locked.uri)
    tiny_models.packaged(tmp_path, monkeypatch)

    def make(source=None, **finetuning):
        changes = {"source": source, "network": None} if source else {}
        content = tiny_experiment.settings("images", str(tmp_path), finetuning=finetuning)
        return Jobs(Experiment.model_validate(content | changes))

    return make


def test_the_default_is_joint_optimisation_with_l2_sp_from_the_input(jobs):
    study = study_of(jobs())
    assert study.domain.method == TransferMethod()
    assert study.lambda_ is not None
    assert list(study.distributions()) == ["learning_rate", "lambda_", "frozen_depth"]
    assert [start.configuration for start in study.starts] == list(PORTFOLIO)


@pytest.mark.parametrize(("transfer", "generator"), [("model", "reused"), ("feature", "fresh")])
def test_without_joint_optimisation_lambda_is_zero_and_not_searched(jobs, transfer, generator):
    study = study_of(jobs(transfer=transfer))
    assert study.domain.method == TransferMethod(generator=generator)
    assert list(study.distributions()) == ["learning_rate", "frozen_depth"]
    assert [start.configuration.lambda_ for start in study.starts] == [0.0] * len(study.starts)
    assert [set(point) for point in study.start_points()] == [{"learning_rate", "frozen_depth"}] * len(study.starts)


def test_regularizer_and_end_reach_the_worker(jobs):
    method = study_of(jobs(regularizer="features", frozen_from="output")).domain.method
    assert method == TransferMethod(regularizer="features", frozen_from="output")


def test_source_images_are_the_shards_where_there_are_some(jobs):
    assert study_of(jobs()).domain.source_images.uri.endswith("tiny/shards/source")
    assert study_of(jobs({"model": "base-x4"})).domain.source_images is None


@pytest.mark.parametrize(("gpus", "devices", "on_gpu"), [(0, 1, False), (0.25, 1, True), (1, 1, True), (2, 2, True)])
def test_the_gpus_of_a_trial_share_its_batch_and_change_no_fingerprint(jobs, gpus, devices, on_gpu):
    plain = jobs()
    search = plain.experiment.search.model_copy(update={"gpus_per_trial": gpus})
    changed = Jobs(plain.experiment.model_copy(update={"search": search}))
    domain = study_of(changed).domain
    assert (domain.device_count, domain.on_gpu) == (devices, on_gpu)
    assert changed.confirm_inputs("satellite") == plain.confirm_inputs("satellite")


@pytest.mark.parametrize(
    "change", [{"transfer": "model"}, {"transfer": "feature"}, {"regularizer": "replay"}, {"frozen_from": "output"}]
)
def test_another_method_is_another_study_and_confirmation(jobs, change):
    for inputs in ("study_inputs", "confirm_inputs"):
        assert getattr(jobs(**change), inputs)("satellite") != getattr(jobs(), inputs)("satellite")


@pytest.mark.parametrize(
    ("finetuning", "told"),
    [
        ({}, "R is L2-SP, half the squared distance"),
        ({"regularizer": "replay", "frozen_from": "output"}, "source, added to the loss (so it passes through Adam's "),
        ({"frozen_from": "output"}, "Frozen depth counts from the output."),
        ({"transfer": "model"}, "Model transfer: F_θ and G_φ are reused, λ = 0."),
        ({"transfer": "feature"}, "Feature transfer: F_θ is reused with a fresh G_φ, λ = 0."),
    ],
)
def test_the_report_says_what_was_carried_over(jobs, finetuning, told):
    experiment = jobs(**finetuning).experiment
    assert told in " ".join(_protocol(experiment))
    assert ("λ is sampled" in _notes(experiment)[0]) is experiment.finetuning.searches_lambda
