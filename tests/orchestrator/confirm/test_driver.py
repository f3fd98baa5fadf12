"""A confirmation from its candidates to its report, run in this process: real training on a handful of images."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from searched_experiment import record, searched

from orchestrator.confirm import driver as confirming
from orchestrator.confirm.ablation import ablation_of
from orchestrator.confirm.comparison import differences
from orchestrator.confirm.driver import drive_confirmation
from orchestrator.data.locked_test import record_choice
from orchestrator.experiment.feasibility import Resources
from orchestrator.foundation.model_store import read_model
from orchestrator.foundation.stage_record import finish_stage
from orchestrator.foundation.vocabulary import CLASSICAL
from orchestrator.jobs.stage_jobs import Jobs
from orchestrator.report.domain_section import domain_report
from orchestrator.runtime.task_runner import InProcessRunner
from trainables.errors import RunError
from trainables.loops.finetune import TransferConfiguration
from trainables.metrics.evaluation import Score

DEFAULT = TransferConfiguration(learning_rate=1e-4, lambda_=0.0, frozen_depth=0)
SCRATCH = replace(DEFAULT, learning_rate=1e-3)
FOUND = TransferConfiguration(learning_rate=5e-4, lambda_=1e-3, frozen_depth=2)


RECORDS = [record(0, 25.0, DEFAULT), record(1, 26.0, FOUND)]


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    """An experiment that starts from a tiny model, up to its search; none of it needs a cluster."""
    compared = {"ablation": True, "classical": True}
    return searched(tmp_path_factory.mktemp("confirming"), 9, 0.67, RECORDS, confirmation=compared)


class Recording(InProcessRunner):
    """Runs tasks here, and keeps the name and arguments of each."""

    def __init__(self):
        super().__init__(Resources(2, 0, 0))
        self.ran = []

    def submit(self, function, *arguments, **options):
        self.ran.append((function.__name__, arguments[1:]))
        return super().submit(function, *arguments, **options)


@pytest.fixture
def runner():
    return Recording()


@pytest.fixture
def confirm(jobs, runner):
    return lambda: drive_confirmation(jobs.confirmation("satellite"), runner)


def test_a_confirmation_from_its_candidates_to_its_report(jobs, confirm, runner):
    job = jobs.confirmation("satellite")
    told = json.loads(json.dumps(confirm().plain()))  # as the stage's record keeps it
    names = [name for name, _ in runner.ran]
    trained = [arguments for name, arguments in runner.ran if name == "train_run"]
    assert names.index("score_run") > max(i for i, name in enumerate(names) if name in ("train_run", "fit_classical"))
    # Two seeds of the trial, the default and scratch; the default is model transfer too. Feature transfer has two
    # learning rates, of which the first seed chooses.
    assert sorted((name, seed) for name, _, seed, _ in trained if not name.startswith("feature")) == [
        (name, seed) for name in ("default", "scratch", "trial-1") for seed in (1, 2)
    ]
    features = [(name, seed) for name, _, seed, start in trained if start == "features"]
    assert [seed for _, seed in features] == [1, 1, 2]

    assert job.opening.read_json()["after_choosing"] == told["winner"]
    arms = set(told["arms"])
    assert arms - {"interpolated"} == {*CLASSICAL, "zero_shot", "scratch", "default", "feature", "model", "best"}
    assert told["arms"]["model"] == told["arms"]["default"]
    assert told["classical"]["tv"]["iterations"] in (20, 80)
    assert set(told["source_psnr"]) == arms & {"zero_shot", "default", "feature", "model", "best", "interpolated"}
    for arm in ("tv", "example", "bicubic"):
        assert ("best", arm) in {(d["arm"], d["baseline"]) for d in told["differences"]}
    best = FOUND if told["winner"] == "trial-1" else DEFAULT
    assert jobs.place("models", "satellite", "card.json").read_json()["configuration"] == best.to_dict()

    # What has finished is not run again: weights gone, scores and records kept.
    for file in Path(job.runs.path).rglob("*.safetensors"):
        if "interpolated" not in str(file) and not str(file.parent).endswith(f"{told['winner']}-seed1"):
            file.unlink()
    again = json.loads(json.dumps(confirm().plain()))
    assert {key: again[key] for key in told if key != "pictures"} == {k: v for k, v in told.items() if k != "pictures"}

    assert jobs.experiment.home.child(told["runs"]) == job.runs
    assert [c["validation_psnr"] for c in told["candidates"]] == [told["validation"][c.name] for c in job.candidates]
    finish_stage("confirm", jobs.place("confirm", "satellite"), "inputs", 0.0, told)
    report = domain_report(jobs.experiment, "satellite", RECORDS, {})
    assert [arm.name for arm in report.arms if arm.name != "interpolated"] == [
        *("bicubic", "bilinear", "lanczos", "tv", "example", "zero_shot", "scratch", "default", "feature"),
        *("model", "best"),
    ]
    assert report.counts.images == {"train": 1, "validation": 2, "test": 6}
    assert report.test_opened.after_choosing == report.winner
    assert "the strongest classical baseline on validation" in report.remarks[0]


def test_the_test_split_is_not_read_before_the_choice(jobs, confirm, monkeypatch):
    """Where the choice cannot be recorded, no task sees a test image."""
    job = jobs.confirmation("satellite")
    if job.opening.exists():
        job.opening.delete()

    def broken(*_):
        raise RunError("no choice")

    monkeypatch.setattr(confirming, "record_choice", broken)
    with pytest.raises(RunError, match="no choice"):
        confirm()
    assert not job.opening.exists()


def test_points_of_a_front_are_confirmed_beside_the_candidates_and_cannot_win(jobs, runner):
    """A shortened winner, a point of its own, and one that diverges with every seed."""
    search = jobs.experiment.search.model_copy(update={"kept_blocks": (1, 7), "trials": 4})
    fronts = Jobs(jobs.experiment.model_copy(update={"search": search}))
    short = {kept: replace(DEFAULT, learning_rate=5e-4, kept_blocks=kept) for kept in (3, 2, 1)}
    short[2] = replace(short[2], learning_rate=3e37)
    found = [(DEFAULT, 25.0), (short[3], 26.0), (short[2], 24.5), (short[1], 24.0)]
    for number, (configuration, psnr) in enumerate(found):
        told = record(number, psnr, configuration).model_copy(update={"speed": 1.0 + number})
        fronts.records_place("satellite").child(f"{number:04d}.json").write_json(told.plain())
    job = fronts.confirmation("satellite")
    record_choice(job.opening, job.test, "trial-1")
    told = json.loads(json.dumps(drive_confirmation(job, runner).plain()))

    trained = {arguments[0] for name, arguments in runner.ran if name == "train_run"}
    assert {"trial-1", "default", "kept-2", "kept-1"} <= trained
    assert "kept-3" not in trained
    assert set(told["validation"]) == {"trial-1", "default", "zero_shot"}
    assert [(point["kept"], point["run"]) for point in told["front"]] == [
        (3, "trial-1"),
        (2, "kept-2"),
        (1, "kept-1"),
    ]
    best, diverged, fast = told["front"]
    assert best["test"] == told["arms"]["best"]
    assert (best["difference"]["mean"], best["difference"]["verdict"]) == (0, "tie")
    assert (diverged["test"], diverged["difference"], diverged["validation_psnr"]) == (None, None, [])
    assert fast["difference"]["mean"] == pytest.approx(told["arms"]["best"]["psnr"] - fast["test"]["psnr"])
    assert len(fast["validation_psnr"]) == 2

    # Weights are averaged with those of the source model's first blocks.
    assert [share for share, _ in told["interpolation"]["validation"]] == [0.25, 0.5, 0.75, 1.0]
    models = fronts.place("models", "satellite")
    assert read_model(models)[0].architecture.depth == 3
    assert sorted(path.name for path in Path(models.child("front").path).iterdir()) == ["kept-1", "kept-3"]
    net, card = read_model(models.child("front", "kept-1"))
    assert (net.architecture.depth, card["megapixels_per_second"]) == (1, 4.0)
    assert card["metrics"]["test"] == fast["test"]

    plain = jobs.confirmation("satellite")
    assert plain.front == ()
    drive_confirmation(plain, runner)
    assert not models.child("front").exists(), "the front of an earlier confirmation"


class TestSteps:
    """Learning rates of the steps between zero-shot and the winner."""

    def test_model_transfer_takes_the_rate_of_the_best_trial_without_a_regularizer(self):
        plain, fast = (replace(DEFAULT, learning_rate=rate, frozen_depth=3) for rate in (2e-4, 3e-3))
        records = [record(0, 25.0, DEFAULT), record(1, 27.0, FOUND), record(2, 26.0, plain)]
        records.append(record(3, None, fast, status="diverged"))
        steps = ablation_of(records, DEFAULT, SCRATCH)
        assert steps.model == replace(DEFAULT, learning_rate=2e-4)
        assert steps.features == (steps.model, SCRATCH)

    def test_the_default_s_where_none_finished(self):
        steps = ablation_of([record(0, 25.0, FOUND)], DEFAULT, DEFAULT)
        assert (steps.model, steps.features) == (DEFAULT, (DEFAULT,))


def test_differences_are_paired_averaged_over_runs_and_skip_absent_arms():
    def run(*values):
        return [Score(f"{i}.png", f"scene{i}", value, 0.9) for i, value in enumerate(values)]

    scores = {"best": [run(30, 31), run(32, 33)], "bicubic": [run(29, 30)], "zero_shot": [run(31, 32)], "scratch": []}
    told = {(d.arm, d.baseline): d.plain() for d in differences(scores) if d.metric == "psnr"}
    assert list(told) == [("best", "bicubic"), ("best", "zero_shot"), ("zero_shot", "bicubic")]
    assert told["best", "bicubic"]["mean"] == 2
    assert told["best", "zero_shot"] | {"low": 0, "high": 0} == {
        "arm": "best",
        "baseline": "zero_shot",
        "metric": "psnr",
        "mean": 0,
        "low": 0,
        "high": 0,
        "scenes": 2,
        "verdict": "tie",
        "wilcoxon_p": 1.0,
    }
