"""Studies of quality and speed: what they sample, maximise and start from, without a cluster."""

import math
from contextlib import ExitStack
from pathlib import Path

import optuna
import pytest
import tiny_experiment
import tiny_models
from optuna.distributions import IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from records import trial
from rich.console import Console
from study_records import AXES, DISTRIBUTIONS, record
from test_searching_units import DEFAULT, START, study_job

from orchestrator.experiment.settings import Experiment
from orchestrator.foundation.storage import Storage
from orchestrator.jobs import stage_jobs as module
from orchestrator.jobs.stage_jobs import Jobs
from orchestrator.jobs.study_starts import study_starts
from orchestrator.pipeline import run_context
from orchestrator.pipeline.run_context import RunContext
from orchestrator.pipeline.stages.search import SearchStage
from orchestrator.report.range_edges import Axis, edge_warnings
from orchestrator.report.study_facts import importance
from orchestrator.runtime.progress import Display
from orchestrator.search.network_speed import Shortening, device_sentence, measure_speeds, read_speeds
from orchestrator.search.optuna_export import write_optuna_log
from orchestrator.search.samplers import DIVERGED, NumberedSearch, RepeatableSampler, maximised
from orchestrator.search.starts import Start
from orchestrator.search.study import study_with
from trainables.loops.settings import TransferConfiguration
from trainables.network.network import preset

SPEEDS = {kept: 20.0 - kept for kept in range(2, 9)}
SHORTENING = Shortening((2, 8), preset("base", 4), SPEEDS)


def job_of(**changes):
    return study_job(**{"shortening": SHORTENING} | changes)


def searched(job, kind, records, count):
    """Goes on with a study as Tune does: Ray's searcher suggests and is told; gives all records."""
    records = list(records)
    missing = range(len(records), len(records) + count)
    searcher = NumberedSearch(
        list(missing),
        space=job.distributions(),
        **maximised(job.objectives),
        sampler=RepeatableSampler(kind, job.seed, 3),
        **study_with(job, records),
    )
    for number in missing:
        sampled = searcher.suggest(str(number))
        assert sampled.pop("number") == number
        # A long network is the better one, and trial 3 diverges.
        psnr = 30 - (math.log10(sampled["learning_rate"]) + 3.2) ** 2 + 0.1 * sampled["kept_blocks"]
        objective = 20.0 if number == 3 else psnr
        speed = job.shortening.speeds[sampled["kept_blocks"]]
        result = {"psnr": objective, "speed": speed, "stopped": False, DIVERGED: number == 3}
        searcher.on_trial_complete(str(number), result)
        status = "diverged" if number == 3 else "finished"
        records.append(trial(number, status=status, sampled=sampled, objective=objective, speed=speed))
    told = searcher._ot_study.get_trials(states=[TrialState.COMPLETE])
    assert [trial.values for trial in told] == [[r.objective, r.speed] for r in records]
    return records


@pytest.mark.parametrize("kind", ["gp", "tpe", "random"])
def test_every_sampler_maximises_both_and_a_resumed_study_suggests_the_same(kind):
    job = job_of()
    unbroken = searched(job, kind, [], 8)
    assert searched(job, kind, unbroken[:4], 4) == unbroken
    assert len({record.sampled["kept_blocks"] for record in unbroken}) > 2
    if kind != "random":
        slow = [record.model_copy(update={"speed": -record.speed}) for record in unbroken[:7]]
        study = optuna.load_study(**study_with(job, slow))
        assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MAXIMIZE"]
        assert searched(job_of(), kind, slow, 1)[-1].sampled != unbroken[7].sampled, "speed teaches nothing"


def test_one_more_setting_is_searched():
    assert list(job_of().distributions()) == ["learning_rate", "lambda_", "frozen_depth", "kept_blocks"]
    assert job_of().distributions()["kept_blocks"] == IntDistribution(2, 8)
    assert list(job_of(lambda_=None).distributions()) == ["learning_rate", "frozen_depth", "kept_blocks"]
    assert "kept_blocks" not in study_job().distributions()
    assert (study_job().objectives, maximised(study_job().objectives)) == (("psnr",), {"metric": "psnr", "mode": "max"})


def test_starts_keep_all_blocks_or_as_many_as_the_range_has():
    short = TransferConfiguration(learning_rate=1e-3, lambda_=0.0, frozen_depth=0, kept_blocks=3)
    starts = (Start("default", DEFAULT), Start("start", START), Start("sibling", short, "art"))
    assert [point["kept_blocks"] for point in job_of(starts=starts).start_points()] == [8, 8, 3]
    narrow = Shortening((4, 6), preset("base", 4), {})
    assert [point["kept_blocks"] for point in job_of(starts=starts, shortening=narrow).start_points()] == [6, 6, 4]
    assert all("kept_blocks" not in point for point in study_job(starts=starts).start_points())


def test_a_point_that_keeps_all_blocks_is_a_configuration_that_was_never_shortened():
    point = {"learning_rate": 1e-3, "lambda_": 1e-2, "frozen_depth": 6, "kept_blocks": 8}
    whole = TransferConfiguration(learning_rate=1e-3, lambda_=1e-2, frozen_depth=6)
    assert job_of().configuration(point) == whole
    assert job_of().start_points()[0] == study_job().start_points()[0] | {"kept_blocks": 8}
    short = job_of().configuration(point | {"kept_blocks": 5})
    assert (short.kept_blocks, short.frozen_depth) == (5, 6)


@pytest.mark.parametrize(("kept", "depth"), [(2, 3), (4, 5), (5, 6)])
def test_a_shortened_network_freezes_at_most_all_blocks_but_one(kept, depth):
    point = {"learning_rate": 1e-3, "lambda_": 1e-2, "frozen_depth": 6, "kept_blocks": kept}
    assert job_of().configuration(point).frozen_depth == depth


def test_importance_is_that_of_quality():
    """The setting that decides speed alone explains nothing of the score."""
    spaces = DISTRIBUTIONS | {"kept_blocks": IntDistribution(1, 8)}
    records = []
    for number in range(24):
        told = record(number, [20.0 + number % 7], depth=number % 7)
        sampled = told.sampled | {"kept_blocks": 1 + number * 5 % 8}
        records.append(told.model_copy(update={"sampled": sampled, "speed": 100.0 * sampled["kept_blocks"]}))
    shares = importance(records, spaces)
    assert shares["frozen_depth"] > 0.7
    assert shares["kept_blocks"] < 0.2


def test_a_winner_on_the_edge_of_kept_blocks_is_told_what_to_widen():
    axes = AXES | {"kept_blocks": Axis("search.kept_blocks", 4, 8, False, 1, 8)}
    winner = {"learning_rate": 3e-4, "lambda_": 0.0, "frozen_depth": 2}
    (told,) = edge_warnings(winner | {"kept_blocks": 4}, axes)
    assert "number of kept blocks 4 lies on the lower edge" in told
    assert "widen search.kept_blocks, for example to [1, 8]" in told
    assert edge_warnings(winner | {"kept_blocks": 8}, axes) == []


def test_the_log_of_a_study_has_two_objectives(tmp_path):
    spaces = DISTRIBUTIONS | {"kept_blocks": IntDistribution(1, 8)}
    records = [record(0, [28.0, 29.0]), record(1, [], "diverged")]
    records = [r.model_copy(update={"speed": 5.0, "sampled": r.sampled | {"kept_blocks": 3}}) for r in records]
    write_optuna_log("front", records, spaces, Storage.at(str(tmp_path / "optuna.log")), ("psnr", "speed"))
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "optuna.log")))
    study = optuna.load_study(storage=storage, study_name="front")
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MAXIMIZE"]
    assert [(t.state.name, t.values) for t in study.trials] == [("COMPLETE", [29.0, 5.0]), ("FAIL", None)]
    assert study.trials[0].params["kept_blocks"] == 3


def test_speeds_are_read_as_they_were_written(tmp_path):
    place = Storage.at(str(tmp_path / "speeds.json"))
    assert read_speeds(place) == {}
    device = {"processor": "A CPU", "threads": 2, "precision": "float32", "torch": "2.12", "tile": 256}
    told = {"megapixels_per_second": {"1": 7.5, "10": 2.25}, "device": device, "rounds": 5}
    place.write_json(told)
    assert read_speeds(place) == {1: 7.5, 10: 2.25}
    assert device_sentence(told).startswith("A CPU, 2 threads, float32, PyTorch 2.12, one tile of 256×256 LR pixels")


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    """Jobs of an experiment with other search settings; shards need not be there."""
    monkeypatch.setattr(module, "read_manifest", lambda place: {"digest": place.uri})

    def make(**search):
        content = tiny_experiment.settings("images", str(tmp_path), search=search)
        return Jobs(Experiment.model_validate(content))

    return make


def test_a_study_of_speed_is_another_study_and_its_cpus_are_part_of_it(jobs):
    plain, many = jobs(), jobs(cpus_per_trial=2)
    front, front_of_many = jobs(kept_blocks=[1, 7]), jobs(kept_blocks=[1, 7], cpus_per_trial=2)
    inputs = [each.study_inputs("satellite") for each in (plain, many, front, front_of_many)]
    assert inputs[0] == inputs[1]
    assert len(set(inputs)) == 3
    assert front.speeds_place() != front_of_many.speeds_place()
    assert front.speeds_place() == jobs(kept_blocks=[1, 7], trials=99).speeds_place()
    assert plain.shortening() is None


def test_measured_speeds_reach_the_study(jobs):
    front = jobs(kept_blocks=[5, 7])
    assert front.shortening() == Shortening((5, 7), preset("tiny", 4), {})
    front.speeds_place().write_json({"megapixels_per_second": {"5": 3.0, "6": 2.0, "7": 1.0}})
    study = front.study("satellite", study_starts(front, "satellite"), None)
    assert study.shortening.speeds == {5: 3.0, 6: 2.0, 7: 1.0}
    assert [start.configuration.kept_blocks for start in study.starts] == [None] * len(study.starts)
    narrow = jobs(kept_blocks=[2, 4])
    assert {s.configuration.kept_blocks for s in study_starts(narrow, "satellite")} == {4}


def test_speeds_are_measured_once_and_read_from_then_on(jobs, monkeypatch):
    front = jobs(kept_blocks=[5, 7])
    tiny_models.write(Path(front.place("source").path), tiny_models.net())
    told = measure_speeds(front.speeds())
    assert front.shortening().speeds == {int(kept): s for kept, s in told["megapixels_per_second"].items()}
    assert list(front.shortening().speeds) == [5, 6, 7]
    monkeypatch.setattr(run_context, "connect", lambda cluster: pytest.fail("nothing is left to measure"))
    before, said = front.speeds_place().read_bytes(), Console(record=True)
    with ExitStack() as stack:
        SearchStage(front).ensure_speeds(RunContext(front.experiment, ("satellite",), Display(said), stack))
    assert front.speeds_place().read_bytes() == before
    assert said.export_text() == ""
