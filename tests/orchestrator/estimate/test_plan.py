"""The plan: counts, time and cost, without a cluster."""

import json
import math
from dataclasses import replace
from typing import get_args

import noise_images
import numpy as np
import pytest
import ray
import torch
from confirmations import confirmed
from planning import pack, steady_rates
from records import trial_record
from tiny_experiment import settings

from orchestrator.analysis.search_worth import Verdict
from orchestrator.cli.output import print_plan
from orchestrator.estimate import further_scores, plan, timed_work
from orchestrator.estimate import rates as measuring
from orchestrator.estimate.further_scores import FurtherScores
from orchestrator.estimate.plan import make_plan
from orchestrator.estimate.timed_work import DomainRates, DomainTask, Task
from orchestrator.experiment.feasibility import Resources
from orchestrator.experiment.load import make_experiment
from orchestrator.foundation.stage_record import Vouched, finish_stage
from orchestrator.pipeline.preflight import Inputs, preflight
from trainables.degradation import Degradation
from trainables.images.raster import PreparedImage

COUNTS = {"natural": 5, "medical": 9, "satellite": 9}
WORKER, READ, PRETRAINING_STEP = 4.0, 0.01, 0.5
MEDICAL = DomainRates(step=0.1, frozen_step=0.06, make_validation=0.02, validate=0.2, make_test=0.03, test=0.3)
SATELLITE = DomainRates(step=0.3, frozen_step=0.1, make_validation=0.02, validate=0.2, make_test=0.03, test=0.3)
RATES = steady_rates(WORKER, medical=MEDICAL, satellite=SATELLITE)


@pytest.fixture(autouse=True)
def no_ray(monkeypatch):
    """Planning must neither start nor join a Ray; another test's may be running."""
    running = ray.is_initialized()

    def started(*_, **__):
        pytest.fail("a plan started Ray")

    monkeypatch.setattr(ray, "init", started)
    yield
    assert ray.is_initialized() == running


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for domain, count in COUNTS.items():
        noise_images.write(folder / domain, [f"{i}.png" for i in range(count)])
    return folder


@pytest.fixture
def experiment(images, tmp_path):
    def make(cluster=None, **changes):
        content = settings(str(images), str(tmp_path / "runs"), **changes)
        return make_experiment(content | {"cluster": cluster or {}}, "test")

    return make


@pytest.fixture
def steady(monkeypatch):
    monkeypatch.setattr(plan, "measure", lambda *_: RATES)


def planned(experiment, cpus=2.0, gpus=0.0):
    files = preflight(experiment).files
    return make_plan(experiment, Inputs(files, Resources(cpus, gpus, gpus)))


def seconds(told):
    return {stage.stage: stage.seconds for stage in told.stages}


def work(told):
    return {stage.stage: stage.work for stage in told.stages}


def finish(jobs, stage, domain):
    """Leaves a stage as a run leaves it: a search with whole trials, a confirmation of what it found."""
    inputs = getattr(jobs, f"{stage}_inputs")(domain)
    if stage == "search":
        for number in range(jobs.trials(domain)):
            jobs.records_place(domain).child(f"{number:04d}.json").write_json(trial_record(number))
        result = {"trials": jobs.trials(domain), "trial_seconds": 0.0, "best": None}
    else:
        result = confirmed(jobs.confirmation(domain)).plain()
    seal(jobs, stage, jobs.place(stage, domain), inputs, result)


def seal(jobs, stage, place, inputs, result):
    """Writes the record of a stage that vouches for no file."""
    finish_stage(stage, place, inputs, 0.0, result, Vouched(jobs.experiment.home, []))


def test_a_measured_plan_is_finite_json(experiment, tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "MEASURED_SECONDS", 0.02)
    finish = {"enabled": True}
    made = experiment(cluster={"price_per_hour": 2.5, "cpus": 1}, pretraining={"workers": 1}, finish=finish)
    told = make_plan(made, preflight(made))
    plain = json.loads(json.dumps(told.to_dict(), allow_nan=False))
    numbers = [*plain["step_seconds"].values(), plain["seconds"], *plain["seconds_range"], *plain["cost_range"]]
    assert all(math.isfinite(number) and number > 0 for number in numbers)
    names = ["start", "shards", "pretrain", "search", "confirm", "finish", "report"]
    assert [stage["stage"] for stage in plain["stages"]] == names
    assert all(stage["seconds"] > 0 for stage in plain["stages"])
    assert set(plain["step_seconds"]) == {"medical", "satellite"}
    assert plain["images"] == {"source": 5, "medical": 9, "satellite": 9}
    low, high = plain["seconds_range"]
    assert (low, high) == pytest.approx((0.7 * plain["seconds"], 1.3 * plain["seconds"]))
    assert plain["cost_range"] == pytest.approx([low / 3600 * 2.5, high / 3600 * 2.5])
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("steady")
class TestCounting:
    def test_the_worth_of_a_search_is_predicted_for_targets_with_trials_left(self, experiment):
        made = experiment(search={"trials": 3})
        told = planned(made)
        assert set(told.search_worth) == {"medical", "satellite"}
        assert {worth["verdict"] for worth in told.search_worth.values()} <= set(get_args(Verdict))
        assert told.to_dict()["search_worth"]["medical"] == told.search_worth["medical"]

    def test_a_study_is_steps_validations_and_a_worker_of_its_own(self, experiment):
        # 3 trials of 8 steps and 2 validations of 2 images; each study's worker reads 3 + 2 images, crops 2
        steps = {"medical": 8 * 0.08, "satellite": 8 * 0.2}
        each = {name: 3 * (s + 2 * 2 * 0.2 + plan._TRIAL_SECONDS) for name, s in steps.items()}
        first = WORKER + (1 + 2) * READ + 2 * 0.02
        side_by_side, in_turn = planned(experiment()), planned(experiment(), cpus=1)
        assert (side_by_side.slots, in_turn.slots) == (2, 1)
        assert seconds(side_by_side)["search"] == pytest.approx(WORKER + first + each["satellite"])
        assert seconds(in_turn)["search"] == pytest.approx(2 * WORKER + 2 * first + sum(each.values()))

    def test_a_study_keeps_its_place_to_its_end(self):
        assert plan._makespan([5, 5, 5], 2) == 10
        assert plan._makespan([5, 2, 2, 2], 2) == 6
        assert plan._makespan([], 2) == 0

    def test_time_grows_with_what_is_asked_for(self, experiment):
        base = seconds(planned(experiment()))
        assert seconds(planned(experiment(confirmation={"seeds": 4})))["confirm"] > base["confirm"]
        assert seconds(planned(experiment(search={"trials": 30})))["search"] > base["search"]
        longer = seconds(planned(experiment(finetuning={"steps": 80})))
        assert longer["search"] > base["search"]
        assert longer["pretrain"] == base["pretrain"]
        twice = seconds(planned(experiment(pretraining={"steps": 48})))
        assert twice["pretrain"] - base["pretrain"] == pytest.approx(24 * PRETRAINING_STEP)

    @pytest.mark.parametrize(
        ("cpus", "gpus", "search", "slots"),
        [
            (1, 0, {}, 1),
            (16, 0, {}, 2),
            (16, 0, {"concurrent_trials": 4}, 8),
            (16, 0, {"concurrent_trials": 4, "cpus_per_trial": 3}, 5),
            (16, 1, {"concurrent_trials": 4, "gpus_per_trial": 0.25}, 4),
            (16, 1, {"gpus_per_trial": 1}, 1),
        ],
    )
    def test_trials_at_once_are_what_fits(self, experiment, cpus, gpus, search, slots):
        files = preflight(experiment()).files
        assert make_plan(experiment(search=search), Inputs(files, Resources(cpus, gpus, gpus))).slots == slots

    def test_each_stage_says_what_it_uses_of_the_cluster(self, experiment):
        files = preflight(experiment()).files

        def uses(inputs, **changes):
            made = make_plan(experiment(**changes), inputs, RATES)
            return {stage.stage: stage.uses for stage in made.stages if stage.uses}

        here = uses(Inputs(files, Resources(4, 0, 0)))
        assert here == {"pretrain": "2 of 4 CPUs", "search": "2 of 4 CPUs", "confirm": "2 of 4 CPUs"}
        gpus = {"pretraining": {"gpus_per_worker": 1}, "search": {"gpus_per_trial": 0.5}}
        grown = {"cluster": {"address": "auto", "gpus": 8}, **gpus}
        assert uses(Inputs(files, None), **grown) == dict.fromkeys(("pretrain", "search", "confirm"), "8 of 8 GPUs")
        elsewhere = uses(Inputs(files, None), cluster={"address": "auto"}, **gpus)
        assert elsewhere == {"pretrain": "2 GPUs", "search": "1 GPU", "confirm": "1 GPU"}

    def test_the_time_of_gpus_that_are_not_here_is_unknown(self, experiment, capsys):
        made = experiment(
            cluster={"address": "auto", "gpus": 8}, pretraining={"gpus_per_worker": 1}, search={"gpus_per_trial": 0.5}
        )
        assert measuring.stages_elsewhere(made, gpus_here=1) == ()
        elsewhere = measuring.stages_elsewhere(made, gpus_here=0)
        assert elsewhere == ("pretrain", "search", "confirm", "finish")
        planned = make_plan(made, Inputs(preflight(experiment()).files, None), replace(RATES, elsewhere=elsewhere))
        assert planned.unknown == ("pretrain", "search", "confirm")  # nothing is left to finish: it is disabled
        assert [stage["seconds"] for stage in planned.to_dict()["stages"] if stage["stage"] == "search"] == [None]
        print_plan(made, planned)
        said = capsys.readouterr().out
        assert "The time of pretrain, search, confirm is unknown: this machine lacks the GPUs for it." in said
        assert planned.seconds < make_plan(made, Inputs(preflight(experiment()).files, None), RATES).seconds

    def test_the_time_of_more_gpus_than_are_here_is_unknown(self, experiment):
        made = experiment(pretraining={"gpus_per_worker": 1}, search={"gpus_per_trial": 2})
        assert measuring.stages_elsewhere(made, gpus_here=1) == ("search", "confirm", "finish")
        assert measuring.stages_elsewhere(made, gpus_here=2) == ()

    def test_test_images_of_their_own_are_counted(self, experiment, images):
        noise_images.write(images / "held-out", [f"t{i}.png" for i in range(30)])
        base = experiment()
        targets = base.dump()["targets"]
        targets["medical"]["test_images"] = "held-out"
        grown = make_experiment(base.dump() | {"targets": targets}, "test")
        assert work(planned(base))["confirm"] == "12 runs with fresh seeds, 156 test images scored"
        # 6 of medical's 9 images were for test; now its own 30 are. Each is scored 3 + 5 seeds' worth of times.
        more = (30 - 6) * (3 + 5 * 2)
        assert work(planned(grown))["confirm"] == f"12 runs with fresh seeds, {156 + more} test images scored"
        assert seconds(planned(grown))["confirm"] - seconds(planned(base))["confirm"] > more * 0.3 / 2

    @pytest.mark.parametrize(("kept", "more"), [([1, 1], 0), ([3, 5], 2), ([1, 7], 4)])
    def test_points_of_a_front_are_confirmed_too(self, experiment, kept, more):
        """At most five of them, of which the best is a candidate; two seeds, two domains of 6 test images."""
        told = planned(experiment(search={"kept_blocks": kept}))
        runs, scored = 12 + 2 * 2 * more, 156 + 2 * 2 * 6 * more
        assert work(told)["confirm"] == f"{runs} runs with fresh seeds, {scored} test images scored"

    def test_finished_models_are_counted_at_their_longest(self, experiment):
        """Two domains, two seeds, 8 steps doubled three times: 16 + 32 + 64 to find the length, and 64 to train it."""
        without, told = planned(experiment()), planned(experiment(finish={"enabled": True}))
        assert (work(without)["finish"], seconds(without)["finish"]) == ("left out", 0)
        steps = 2 * (16 + 32 + 64 + 64)
        assert work(told)["finish"] == f"at most {2 * steps} steps for 2 finished models"
        assert seconds(told)["finish"] > steps * (0.1 + 0.3) / told.slots
        assert {**seconds(told), "finish": 0} == seconds(without)
        none = planned(experiment(finish={"enabled": True, "doublings": 0, "seeds": 1}))
        assert work(none)["finish"] == "at most 16 steps for 2 finished models"

    def test_a_limit_on_forgetting_is_scored_in_every_trial(self, experiment):
        """3 trials in each domain score 2 of the source's images, as a worker does once for the source model."""
        free, limited = seconds(planned(experiment(), 1)), seconds(planned(experiment(search={"keep_source": 1.0}), 1))
        source = 1 * 0.2, 1 * (0.02 + 0.2)  # one image: of 5, one is for validation
        assert limited["search"] - free["search"] == pytest.approx(2 * (3 * source[0] + source[1]))
        assert limited["confirm"] > free["confirm"]
        finish = {"enabled": True}
        longer = seconds(planned(experiment(search={"keep_source": 1.0}, finish=finish), 1))["finish"]
        assert longer > seconds(planned(experiment(finish=finish), 1))["finish"]

    def test_averages_and_forgetting_are_scored_in_a_confirmation(self, experiment):
        """Two seeds: arms that may forget are the default, the answer and its average with the source, and that over
        seeds; without steps of transfer, the trial and the default are averaged over seeds.
        """
        made = experiment()
        assert further_scores.of_a_confirmation(made, 0) == FurtherScores(2 + 4 * 2, 1 + 3 * 2 + 1)
        assert further_scores.of_a_confirmation(made, 2).source == 1 + 5 * 2 + 1
        one = experiment(confirmation={"seeds": 1})
        assert further_scores.of_a_confirmation(one, 0) == FurtherScores(4, 1 + 3)
        limited = experiment(search={"keep_source": 1.0})
        assert further_scores.of_a_confirmation(limited, 0) == FurtherScores(3 + 20 * 2, 1 + 4 * 2 + 3 + 20 * 2)

    @pytest.mark.parametrize("method", [{"adapter_rank": 1}, {"regularizer": "replay"}, {"transfer": "feature"}])
    def test_steps_are_timed_with_the_experiment_s_own_method(self, experiment, monkeypatch, method):
        made, asked = experiment(finetuning=method, network="base"), []

        def trained(*arguments, devices):
            asked.append(arguments[-2:])
            assert devices == [torch.device("cpu")]
            return []

        monkeypatch.setattr(timed_work, "finetune", trained)
        samples = [PreparedImage(np.zeros((128, 128, 3), np.uint8))]
        task = DomainTask(Degradation(), 2, samples)
        parts = made.architecture, made.finetuning, made.pretraining, 64, 1, False, 0.01, samples
        timed_work._time_domain(Task(*parts, {"medical": task}), task, [torch.device("cpu")])
        assert {told for told, _ in asked} == {made.finetuning.method()}
        assert all((replay is not None) == ("regularizer" in method) for _, replay in asked)

    def test_steps_are_timed_on_the_gpus_of_one_trial(self, experiment, monkeypatch):
        made = experiment(search={"gpus_per_trial": 2})
        parts = made.architecture, made.finetuning, made.pretraining, 64, 1, True, 0.01, [], {}
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
        task = Task(*parts, made.search.devices_per_trial)
        found = [[device.index for device in timed_work._devices(task, rank)] for rank in range(3)]
        assert found == [[0, 1], [2, 3], [0, 1]]
        assert timed_work._devices(replace(task, on_gpu=False), 1) == [torch.device("cpu")]
        assert [device.index for device in timed_work._devices(Task(*parts), 5)] == [1]

    def test_no_price_no_cost(self, experiment):
        assert planned(experiment()).to_dict()["cost_range"] is None
        assert planned(experiment(cluster={"price_per_hour": 0})).to_dict()["cost_range"] == [0, 0]

    def test_an_unknown_cluster_is_counted_as_one_trial_per_domain(self, experiment):
        made = experiment(cluster={"address": "auto"})
        inputs = preflight(made)
        assert inputs.resources is None
        assert make_plan(made, inputs).slots == 2


@pytest.mark.usefixtures("steady")
class TestWhatIsLeft:
    def test_packed_shards_are_counted_in_their_manifest(self, experiment):
        made = experiment()
        before = planned(made)
        pack(made)
        after = planned(made)
        assert (work(before)["shards"], work(after)["shards"]) == ("23 images", "finished")
        assert seconds(after)["shards"] == 0
        assert seconds(after)["confirm"] == pytest.approx(seconds(before)["confirm"])

    def test_finished_trials_and_stages_cost_nothing(self, experiment):
        made = experiment(search={"trials": 5})
        jobs = pack(made)
        for number in range(2):
            jobs.records_place("medical").child(f"{number:04d}.json").write_json(trial_record(number))
        finish(jobs, "search", "satellite")
        told = planned(made)
        assert work(told)["search"] == "1 domains × 3 trials × 8 steps"
        seal(jobs, "pretrain", jobs.place("source"), jobs.source_inputs(), {})
        finish(jobs, "search", "medical")
        told = planned(made)
        assert [stage.stage for stage in told.stages if stage.work == "finished"] == ["shards", "pretrain", "search"]
        assert sum(seconds(told)[name] for name in ("shards", "pretrain", "search")) == 0

    def test_an_interrupted_confirmation_and_pretraining_go_on(self, experiment):
        made = experiment()
        jobs = pack(made)
        kept = jobs.place("source", "ray", f"run-{jobs.source_inputs()}", "checkpoint_1", "history.json")
        kept.write_json({"step": 16, "losses": []})
        for domain in ("medical", "satellite"):
            finish(jobs, "search", domain)
        runs = jobs.place("confirm", "medical", f"runs-{jobs.confirm_inputs('medical')}")
        for name in ("default-seed1/run.json", "scratch-seed1/run.json", "test-bicubic.json"):
            runs.child(name).write_json({})
        told = planned(made)
        assert work(told)["pretrain"] == "8 steps of 2 × 2 patches"
        assert work(told)["confirm"] == "10 runs with fresh seeds, 150 test images scored"

    def test_an_interrupted_finished_model_goes_on(self, experiment):
        made = experiment(finish={"enabled": True})
        jobs = pack(made)
        finish(jobs, "search", "medical")
        runs = jobs.place("finish", "medical", f"runs-{jobs.finish_inputs('medical')}")
        for name in ("steps-16-seed1", "steps-16-seed2", "all-images-16-seed1"):
            runs.child(name, "run.json").write_json({})
        assert work(planned(made))["finish"] == f"at most {4 * (16 + 32 + 64 + 64) - 48} steps for 2 finished models"

    def test_a_finished_experiment_takes_the_command_alone(self, experiment):
        made = experiment()
        jobs = pack(made)
        seal(jobs, "pretrain", jobs.place("source"), jobs.source_inputs(), {})
        for domain in ("medical", "satellite"):
            finish(jobs, "search", domain)
            finish(jobs, "confirm", domain)
        seal(jobs, "report", jobs.place("report"), jobs.report_inputs(), {"files": []})
        assert planned(made).seconds == WORKER
