"""A confirmation from its candidates to its report, run in this process: real training on a handful of images."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from searched_experiment import record, searched

from orchestrator.confirm import driver as confirming
from orchestrator.confirm import tasks as confirming_tasks
from orchestrator.confirm.ablation import ablation_of
from orchestrator.confirm.comparison import differences
from orchestrator.confirm.driver import drive_confirmation
from orchestrator.confirm.run_record import read_run
from orchestrator.data.locked_test import record_choice
from orchestrator.experiment.feasibility import Resources
from orchestrator.foundation.model_store import read_model
from orchestrator.foundation.stage_record import finish_stage
from orchestrator.foundation.storage import Storage
from orchestrator.foundation.vocabulary import CLASSICAL
from orchestrator.jobs.stage_jobs import Jobs
from orchestrator.report.domain_section import domain_report
from orchestrator.runtime.task_runner import InProcessRunner
from search_spaces import PORTFOLIO
from trainables.errors import RunError
from trainables.loops.settings import TransferConfiguration
from trainables.metrics.evaluation import Score

DEFAULT = PORTFOLIO[0]
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
    always = {*CLASSICAL, "zero_shot", "scratch", "default", "feature", "model", "best"}
    assert arms - {"interpolated", "soup", "best_mean"} == always
    assert told["arms"]["model"] == told["arms"]["default"]
    assert told["classical"]["tv"]["iterations"] in (20, 80)
    kept = {"zero_shot", "default", "feature", "model", "best", "soup", "interpolated"}
    assert set(told["source_psnr"]) == arms & kept
    for arm in ("tv", "example", "bicubic"):
        assert ("best", arm) in {(d["arm"], d["baseline"]) for d in told["differences"]}
    best = {c["name"]: c for c in told["candidates"]}[told["winner"]]["configuration"]
    assert jobs.place("models", "satellite", "card.json").read_json()["configuration"] == best

    # What has finished is not run again: weights gone, scores and records kept.
    for file in Path(job.runs.path).rglob("*.safetensors"):
        if file.parent.name not in ("interpolated-seed1", f"{told['winner']}-seed1", told["winner"]):
            file.unlink()
    again = json.loads(json.dumps(confirm().plain()))
    assert {key: again[key] for key in told if key != "pictures"} == {k: v for k, v in told.items() if k != "pictures"}

    assert jobs.experiment.home.child(told["runs"]) == job.runs
    assert {c["name"]: c["validation_psnr"] for c in told["candidates"]} == told["validation"]
    assert [c["name"] for c in told["candidates"]][:3] == ["trial-1", "default", "zero_shot"]
    assert {"default-soup", "trial-1-soup"} <= set(told["validation"])
    finish_stage("confirm", jobs.place("confirm", "satellite"), "inputs", 0.0, told)
    report = domain_report(jobs.experiment, "satellite", RECORDS, {})
    assert [arm.name for arm in report.arms if arm.name in always] == [
        *("bicubic", "bilinear", "lanczos", "tv", "example", "zero_shot", "scratch", "default", "feature"),
        *("model", "best"),
    ]
    assert report.counts.images == {"train": 1, "validation": 2, "test": 6}
    assert report.test_opened.after_choosing == report.winner
    few = [said for said in (*report.flags, *report.remarks) if "2 validation scenes" in said]
    assert few == ["The choice rests on 2 validation scenes, too few to tell configurations apart."]
    assert any("within 0.02 dB of it: that is the answer." in remark for remark in report.remarks)
    assert any("the strongest classical baseline on validation" in remark for remark in report.remarks)


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


@pytest.fixture(scope="module")
def unbroken(jobs):
    """A confirmation in a folder of its own, and its record."""
    job = jobs.confirmation("satellite")
    own = {"runs": jobs.place("confirm", "own", "runs"), "opening": jobs.place("confirm", "own", "opening.json")}
    job = replace(job, **own, classical=None)
    return job, drive_confirmation(job, Recording())


def test_a_killed_confirmation_chooses_what_an_unbroken_one_does(unbroken, runner, monkeypatch):
    """Killed before any of its averages, when nothing is trained any more."""
    job, whole = unbroken
    monkeypatch.setattr(confirming_tasks, "run_finetuning", None)
    job.opening.delete()
    for lost in ("interpolation.json", "default-soup/run.json", "trial-1-soup/run.json"):
        job.runs.child(*lost.split("/")).delete()
    again = drive_confirmation(job, runner)
    assert (again.choice, again.interpolation) == (whole.choice, whole.interpolation)
    assert job.opening.read_json()["after_choosing"] == whole.choice.answer == whole.winner


def test_a_confirmation_that_an_earlier_version_began_goes_on(unbroken, runner, monkeypatch):
    """Its runs have no score of each image, its average names no candidate, and its choice is on record."""
    job, _ = unbroken
    runs = [Storage(str(file)) for file in Path(job.runs.path).rglob("run.json")]
    for run in runs:
        told = run.read_json()
        run.write_json({key: told[key] for key in ("validation_psnr", "curve", "finished_at")})
    told = job.runs.child("interpolation.json").read_json()
    job.runs.child("interpolation.json").write_json({key: told[key] for key in ("share", "validation")})
    job.opening.delete()
    record_choice(job.opening, job.test, "trial-1")

    monkeypatch.setattr(confirming_tasks, "run_finetuning", None)
    went_on = drive_confirmation(job, runner)
    assert went_on.winner == "trial-1"
    assert went_on.choice is None or went_on.choice.answer == "trial-1"
    assert went_on.interpolation.of
    assert all(read_run(run).images for run in runs)


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
    assert {"kept-1", "kept-2"}.isdisjoint(told["validation"])
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
        "verdict": "too few scenes",
        "seed_sd": pytest.approx(2**0.5),
        "scenes_ahead": 0,
    }
