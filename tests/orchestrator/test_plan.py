"""The plan: counts, time and cost, without a cluster."""

import json
import math

import noise_images
import pytest
import ray
from tiny_experiment import settings

from orchestrator import plan
from orchestrator.cluster import Resources
from orchestrator.pipeline import Inputs, preflight
from orchestrator.plan import make_plan
from orchestrator.reading import make_experiment

COUNTS = {"natural": 5, "medical": 9, "satellite": 9}


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
    """A step takes 0.1 s, a validation 0.2 s and a test image 0.3 s."""
    monkeypatch.setattr(plan, "_measure", lambda experiment: (0.1, 0.2, 0.3))


def planned(experiment, cpus=2.0, gpus=0.0):
    files = preflight(experiment).files
    return make_plan(experiment, Inputs(files, Resources(cpus, gpus, gpus)))


def seconds(told):
    return {stage.stage: stage.seconds for stage in told.stages}


def test_a_measured_plan_is_finite_json(experiment, tmp_path):
    made = experiment(cluster={"price_per_hour": 2.5})
    told = make_plan(made, preflight(made))
    plain = json.loads(json.dumps(told.to_dict(), allow_nan=False))
    numbers = [plain["step_seconds"], plain["seconds"], *plain["seconds_range"], *plain["cost_range"]]
    assert all(math.isfinite(number) and number > 0 for number in numbers)
    assert [stage["stage"] for stage in plain["stages"]] == ["shards", "pretrain", "search", "confirm"]
    assert all(stage["seconds"] > 0 for stage in plain["stages"])
    assert plain["images"] == {"source": 5, "medical": 9, "satellite": 9}
    low, high = plain["seconds_range"]
    assert low < plain["seconds"] < high
    assert plain["cost_range"] == pytest.approx([low / 3600 * 2.5, high / 3600 * 2.5])
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("steady")
class TestCounting:
    def test_time_grows_with_what_is_asked_for(self, experiment):
        base = planned(experiment())
        more = planned(experiment(search={"trials": 30}))
        assert seconds(more)["search"] - 15 == pytest.approx(10 * (seconds(base)["search"] - 15))
        assert seconds(planned(experiment(confirmation={"seeds": 4})))["confirm"] > seconds(base)["confirm"]
        longer = seconds(planned(experiment(finetuning={"steps": 80})))
        assert longer["search"] > seconds(base)["search"]
        assert longer["pretrain"] == seconds(base)["pretrain"]
        assert seconds(planned(experiment(pretraining={"steps": 48})))["pretrain"] > seconds(base)["pretrain"]

    def test_a_study_is_steps_and_validations(self, experiment):
        # 2 domains × 3 trials of 8 steps and 2 validations, one second each besides, on two slots
        told = planned(experiment())
        assert told.slots == 2
        assert seconds(told)["search"] == pytest.approx(15 + 2 * 3 * (8 * 0.1 + 2 * 0.2 + 1) / 2)

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
        made = experiment()
        files = preflight(made).files
        assert make_plan(experiment(search=search), Inputs(files, Resources(cpus, gpus, gpus))).slots == slots

    def test_more_workers_than_cores_take_turns(self, experiment):
        crowded, roomy = (planned(experiment(), cpus=cpus) for cpus in (1, 2))
        assert seconds(crowded)["pretrain"] - 25 == pytest.approx(2 * (seconds(roomy)["pretrain"] - 25))

    def test_test_images_of_their_own_are_counted(self, experiment, images):
        noise_images.write(images / "held-out", [f"t{i}.png" for i in range(30)])
        base = experiment()
        targets = base.dump()["targets"]
        targets["medical"]["test_images"] = "held-out"
        # 6 of medical's 9 images were for test; now its own 30 are. Each is scored 2 + 3 seeds' worth of times.
        grown = planned(make_experiment(base.dump() | {"targets": targets}, "test"))
        scored = (30 - 6) * (2 + 3 * 2)
        assert seconds(grown)["confirm"] - seconds(planned(base))["confirm"] == pytest.approx(scored * 0.3 / 2)

    def test_no_price_no_cost(self, experiment):
        assert planned(experiment()).to_dict()["cost_range"] is None
        assert planned(experiment(cluster={"price_per_hour": 0})).to_dict()["cost_range"] == [0, 0]

    def test_an_unknown_cluster_is_counted_as_one_trial_per_domain(self, experiment):
        made = experiment(cluster={"address": "auto"})
        inputs = preflight(made)
        assert inputs.resources is None
        assert make_plan(made, inputs).slots == 2
