"""Kinds of nodes: what Ray is asked for, which nodes count, and settings that cannot be meant."""

from types import SimpleNamespace

import pytest

from orchestrator.experiment.feasibility import Resources
from orchestrator.experiment.load import make_experiment
from orchestrator.experiment.placement import Placement
from orchestrator.experiment.settings import Cluster, Search
from orchestrator.runtime.on_ray import ray_runner, ray_session
from orchestrator.runtime.on_ray.ray_runner import RayRunner
from orchestrator.runtime.task_runner import DRIVER, Needs
from orchestrator.search.trials_on_tune import resources_of
from orchestrator.training.ray_train import _scaling
from trainables.errors import UsageError

KIND = {"accelerator_type": "A100", "labels": {"pool": "spot"}}
GPUS = {"pretraining": {"gpus_per_worker": 1}, "search": {"gpus_per_trial": 0.5}}


def load(cluster=KIND, **sections):
    content = {"name": "mine", "source": {"images": "a"}, "targets": {"medical": {"images": "b"}}}
    return make_experiment(content | {"cluster": cluster} | sections, "here")


@pytest.fixture
def asked(monkeypatch):
    """Options of the tasks that Ray is asked to run, as Ray itself has checked them."""
    options, real = [], ray_runner._run.options

    def checked(**given):
        real(**given)
        options.append(given)
        return SimpleNamespace(remote=lambda *_: None)

    monkeypatch.setattr(ray_runner._run, "options", checked)
    monkeypatch.setattr(ray_runner, "on_head", lambda: {"resources": {"head": 0.001}})
    return options


def test_tasks_ask_for_the_kind_of_node(asked):
    runner = RayRunner(Resources(2, 2, 2), load(**GPUS).cluster.placement)
    for needs in (Needs(1, 0.5), Needs(1), Needs(), DRIVER, Needs(1, 1, node="a" * 56)):
        runner.submit(print, needs=needs)
    kinds = [{name: given[name] for name in ("accelerator_type", "label_selector") if name in given} for given in asked]
    assert kinds == [
        {"accelerator_type": "A100", "label_selector": {"pool": "spot"}},
        {"label_selector": {"pool": "spot"}},
        {},
        {},
        {},
    ]
    asked.clear()
    RayRunner(Resources(2, 2, 2)).submit(print, needs=Needs(1, 1))
    assert not {"accelerator_type", "label_selector"} & asked[0].keys()


def test_workers_of_pretraining_ask_for_it():
    asked = _scaling(load(**GPUS), {"CPU": 1, "GPU": 1})
    assert (asked.accelerator_type, asked.label_selector) == ("A100", {"pool": "spot"})
    assert asked._resources_per_worker_not_none["accelerator_type:A100"] == 0.001
    on_cpu = _scaling(load(**GPUS), {"CPU": 1})
    assert (on_cpu.accelerator_type, on_cpu.label_selector) == (None, {"pool": "spot"})
    plain = _scaling(load({}), {"CPU": 1})
    assert (plain.accelerator_type, plain.label_selector) == (None, None)


def test_trials_ask_for_it():
    def bundles(placement, gpus):
        return resources_of(SimpleNamespace(settings=Search(gpus_per_trial=gpus), placement=placement))

    asked = bundles(load(**GPUS).cluster.placement, 0.5)
    assert asked.bundles == [{"CPU": 1, "GPU": 0.5, "accelerator_type:A100": 0.001}]
    assert asked._bound.kwargs["bundle_label_selector"] == [{"pool": "spot"}]
    plain = bundles(Placement(), 0)
    assert plain.bundles == [{"CPU": 1}]
    assert "bundle_label_selector" not in plain._bound.kwargs


NODES = [
    {"Alive": True, "Resources": {"CPU": 8, "GPU": 4, "accelerator_type:A100": 1}, "Labels": {"pool": "spot"}},
    {"Alive": True, "Resources": {"CPU": 16, "GPU": 8, "accelerator_type:T4": 1}, "Labels": {"pool": "spot"}},
    {"Alive": True, "Resources": {"CPU": 32, "GPU": 8, "accelerator_type:A100": 1}, "Labels": {}},
    {"Alive": False, "Resources": {}},
]


@pytest.mark.parametrize(
    ("kind", "nodes"),
    [
        ({}, ((8, 4), (16, 8), (32, 8))),
        ({"accelerator_type": "A100"}, ((8, 4), (16, 0), (32, 8))),
        ({"labels": {"pool": "spot"}}, ((8, 4), (16, 8))),
        (KIND, ((8, 4), (16, 0))),
    ],
)
def test_only_nodes_of_the_kind_count(monkeypatch, kind, nodes):
    monkeypatch.setattr(ray_session.ray, "nodes", lambda: NODES)
    measured = ray_session._measured(Cluster(address="auto", **kind))
    assert measured.nodes == nodes
    assert (measured.cpus, measured.gpus_of_a_node) == (sum(n[0] for n in nodes), max(n[1] for n in nodes))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ({"accelerator_type": "H100"}, "has the accelerator type H100 .*; accelerator types of its nodes: A100, T4"),
        ({"labels": {"pool": "own"}}, "has the labels pool=own .*; labels of its nodes: pool=spot. Correct"),
        ({"labels": {"zone": "b"}}, "has the labels zone=b .*; labels of its nodes: none. Correct"),
        ({"accelerator_type": "H100", "labels": {"pool": "own"}}, "type H100 and labels pool=own"),
    ],
)
def test_a_cluster_without_such_nodes_is_refused_unless_it_grows(monkeypatch, kind, words):
    monkeypatch.setattr(ray_session.ray, "nodes", lambda: NODES)
    with pytest.raises(UsageError, match=words):
        ray_session._measured(Cluster(address="auto", **kind))
    assert ray_session._measured(Cluster(address="auto", gpus=4, **kind)).grows


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({}, "names the accelerator type A100 .* but nothing runs on GPUs"),
        (
            {"cluster": {"labels": {"pool": "spot-"}}},
            "'cluster.labels.pool' must hold .* alone, and begin and end with a letter or digit, found 'spot-'",
        ),
        ({"cluster": {"labels": {"my pool": "a"}}}, "'cluster.labels.my pool' must hold .* found 'my pool'"),
        ({"cluster": {"accelerator_type": ""}}, "cluster.accelerator_type"),
    ],
)
def test_settings_that_cannot_be_meant(sections, words):
    with pytest.raises(UsageError, match=words):
        load(**sections)


def test_the_kind_of_node_changes_no_other_setting():
    one, other = load(**GPUS), load({}, **GPUS)
    assert one.pretraining == other.pretraining
    assert one.search == other.search
