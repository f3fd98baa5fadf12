"""What a cluster shows of an archive: gauges, and lines about its nodes; nothing where there is no cluster."""

from collections import Counter

import pytest
from waiting import wait_for

from orchestrator.archive.batch.archive_progress import Progress
from orchestrator.archive.batch.cluster_watch import watching_cluster
from orchestrator.runtime import node_watch
from orchestrator.runtime.on_ray import ray_gauges


class Runner:
    """A cluster whose second node is lost after the first look."""

    def __init__(self, distributed=True):
        self.distributed, self.looks = distributed, 0

    def nodes(self):
        self.looks += 1
        first = {"a": {"CPU": 4.0, "node:10.0.0.1": 1.0}}
        return first | ({"b": {"CPU": 8.0, "node:10.0.0.2": 1.0}} if self.looks == 1 else {})


@pytest.fixture
def gauges(monkeypatch):
    """Values of the gauges by name."""
    values = {}

    class Gauge:
        def __init__(self, name, description, tags):
            self.name = name

        def set_default_tags(self, tags):
            values["output"] = tags["output"]

        def set(self, value):
            values[self.name] = value

    monkeypatch.setattr(ray_gauges, "Gauge", Gauge)
    monkeypatch.setattr(node_watch, "WATCH_SECONDS", 0.01)
    return values


def test_the_gauges_and_a_lost_node(gauges):
    lines = []
    with watching_cluster(Runner(), "s3://b/out", True, lines.append) as show:
        progress = Progress(10, done=4, megapixels=30_000.0, failed=Counter(corrupt=1))
        progress.started -= 15_000
        show(progress)
        wait_for(lambda: lines)
    assert gauges["rayscale_archive_megapixels_per_second"] == pytest.approx(2, rel=0.01)
    assert (gauges["rayscale_archive_scenes_left"], gauges["rayscale_archive_scenes_failed"]) == (6, 1)
    assert gauges["output"] == "s3://b/out"
    assert lines == [
        "node 10.0.0.2 with 8 CPUs was lost: what ran there is done again; the cluster has 1 node with 4 CPUs"
    ]


def test_nodes_of_a_ray_of_our_own_are_not_watched(gauges):
    runner, lines = Runner(), []
    with watching_cluster(runner, "out", False, lines.append) as show:
        show(Progress(1))
    assert (runner.looks, lines, gauges["rayscale_archive_scenes_left"]) == (0, [], 1)


def test_without_ray_there_are_none(gauges):
    with watching_cluster(Runner(distributed=False), "out", True, print) as show:
        show(Progress(1))
    assert gauges == {}
