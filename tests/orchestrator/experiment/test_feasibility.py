"""What no node can hold is refused before anything is spent, and what may come is not refused."""

import pytest
import ray

from orchestrator.experiment.feasibility import Resources, check_resources, cpus_per_worker
from orchestrator.experiment.load import make_experiment
from orchestrator.experiment.settings import Cluster
from orchestrator.runtime.on_ray.ray_runner import RayRunner
from orchestrator.runtime.on_ray.ray_session import _measured
from trainables.errors import UsageError


def experiment(**sections):
    content = {"name": "x", "source": {"images": "a"}, "targets": {"medical": {"images": "b"}}, **sections}
    return make_experiment(content, "test")


def cluster(*nodes, grows=False):
    cpus, gpus = sum(node[0] for node in nodes), sum(node[1] for node in nodes)
    return Resources(cpus, gpus, max(node[1] for node in nodes), nodes, grows)


@pytest.mark.parametrize(
    ("sections", "nodes", "said"),
    [
        ({"search": {"cpus_per_trial": 2}}, [(1, 0)] * 8, "cpus_per_trial is 2, but the largest node .* has 1 CPU;"),
        (
            {"search": {"cpus_per_trial": 3}},
            [(2, 0)],
            "cpus_per_trial is 3, but this cluster has 2",
        ),
        ({"search": {"gpus_per_trial": 2}}, [(4, 1)] * 4, "gpus_per_trial is 2, but the best node .* has 1 GPU;"),
        (
            {"search": {"cpus_per_trial": 4, "gpus_per_trial": 1}},
            [(8, 0), (2, 1)],
            "asks for 4 CPUs and 1 GPU on one node, and no node of this cluster has both: it has 1 with 8 CPUs and 0 "
            "GPUs, 1 with 2 CPUs and 1 GPU",
        ),
        (
            {"pretraining": {"workers": 30}},
            [(2, 0)],
            "asks for 30 workers with at least 0.1 CPUs each, but",
        ),
        ({"pretraining": {"workers": 3, "gpus_per_worker": 1}}, [(8, 2)], "3 workers × 1 GPU, but this cluster has 2"),
        ({"pretraining": {"workers": 2, "gpus_per_worker": 2}}, [(8, 3), (8, 1)], "do not fit the nodes"),
        ({"pretraining": {"workers": 3, "gpus_per_worker": 0.6}}, [(8, 2)], "do not fit the nodes"),
        ({"pretraining": {"workers": 2, "gpus_per_worker": 1}}, [(8, 1), (0, 1)], "do not fit the nodes"),
        ({"pretraining": {"workers": 2, "reading": "ray_data"}}, [(1, 0)], "ray_data one CPU besides"),
    ],
)
def test_what_fits_no_node_is_refused(sections, nodes, said):
    with pytest.raises(UsageError, match=said):
        check_resources(experiment(**sections), cluster(*nodes))


@pytest.mark.parametrize(
    ("sections", "nodes"),
    [
        ({"search": {"cpus_per_trial": 2}}, [(1, 0), (2, 0)]),
        ({"search": {"cpus_per_trial": 0.5, "gpus_per_trial": 0.25}}, [(1, 1)]),
        ({"pretraining": {"workers": 20}}, [(2, 0)]),
        ({"pretraining": {"workers": 4, "gpus_per_worker": 0.5}}, [(8, 2)]),
        ({"pretraining": {"workers": 2, "gpus_per_worker": 1}}, [(8, 1), (1, 1)]),
        ({"pretraining": {"workers": 9, "gpus_per_worker": 4}, "source": {"model": "base-x4"}}, [(2, 0)]),
    ],
)
def test_what_fits_is_not_refused(sections, nodes):
    check_resources(experiment(**sections), cluster(*nodes))


@pytest.mark.parametrize(
    "sections",
    [
        {"search": {"cpus_per_trial": 64, "gpus_per_trial": 8}},
        {"pretraining": {"workers": 8, "gpus_per_worker": 1}},
        {"pretraining": {"workers": 30}},
    ],
)
def test_what_may_come_is_not_refused(sections):
    check_resources(experiment(**sections), Resources(1, 8, 8, ((1, 0),), grows=True))


@pytest.mark.parametrize(
    ("workers", "nodes", "share"),
    [
        (1, [(2, 0)], 1.0),
        (2, [(2, 0)], 1.0),
        (3, [(2, 0)], 0.6666),
        (3, [(1, 0)], 0.3333),
        (4, [(2, 0)], 0.5),
        (20, [(2, 0)], 0.1),
        (5, [(1, 0)] * 4, 0.5),
        (3, [(2, 0), (2, 0)], 1.0),
    ],
)
def test_workers_share_cpus_so_that_all_of_them_fit(workers, nodes, share):
    made = experiment(pretraining={"workers": workers})
    assert cpus_per_worker(made, cluster(*nodes)) == share
    assert sum(int(round(cpus * 10_000) // round(share * 10_000)) for cpus, _ in nodes) >= workers


def test_a_cluster_is_measured_node_by_node(monkeypatch):
    nodes = [
        {"NodeID": f"{alive} {gpus}", "Alive": alive, "Resources": {"CPU": 2.0, **gpus}}
        for alive, gpus in ((1, {}), (1, {"GPU": 1.0}), (0, {}))
    ]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    assert _measured(Cluster(address="auto")) == Resources(4, 1, 1, ((2, 0), (2, 1)))
    assert _measured(Cluster(address="auto", gpus=8)) == Resources(4, 8, 8, ((2, 0), (2, 1)), grows=True)
    assert _measured(Cluster()) == Resources(4, 1, 1)
    monkeypatch.setattr(ray, "nodes", list)
    assert _measured(Cluster(address="auto", gpus=0)).cpus == 1


def test_a_refusal_on_a_cluster_says_what_to_do_if_it_grows():
    with pytest.raises(UsageError, match=r"If the cluster grows by itself, set cluster\.gpus .* 0 for none\.$"):
        check_resources(experiment(search={"cpus_per_trial": 2}), cluster((0, 0)))
    with pytest.raises(UsageError) as refused:
        check_resources(experiment(search={"cpus_per_trial": 3}), Resources(2, 0, 0))
    assert "grows" not in str(refused.value)


def test_what_is_free_is_said_in_words(monkeypatch):
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0, "GPU": 2.0})
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": 0.5})
    assert RayRunner(Resources(8, 2, 0)).free() == "0.5 of 8 CPUs are free and 0 of 2 GPUs are free"
