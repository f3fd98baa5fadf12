"""How many tasks wait for GPUs; that an autoscaler sees them is shown in test_archive_gpu_cluster.py."""

import pytest

from orchestrator.experiment.feasibility import Resources
from orchestrator.runtime import gpu_demand
from orchestrator.runtime.gpu_demand import GpuDemand, Joined
from orchestrator.runtime.task_runner import Ended, InProcessRunner, Needs


class Cluster(InProcessRunner):
    """A cluster whose GPUs come and go, and whose tasks end as a test says."""

    def __init__(self):
        super().__init__(Resources(1, 0, 0))
        self.gpus, self.waiting, self.ended, self.needs = 0, set(), set(), set()

    def nodes(self):
        return {"head": {"CPU": 1.0}, "other": {"CPU": 8.0, "GPU": float(self.gpus)}}

    def submit(self, function, *arguments, needs, retries, name):
        task = super().submit(function)
        self.waiting.add(task)
        self.needs.add(needs)
        return task

    def wait(self, tasks, seconds):
        assert seconds == 0.0
        return [Ended(task) for task in tasks if task in self.ended]

    def cancel(self, task):
        self.waiting.remove(task)

    def end(self, count):
        for _ in range(count):
            self.ended.add(self.waiting.pop())


@pytest.fixture
def cluster(monkeypatch):
    cluster = Cluster()
    monkeypatch.setattr(gpu_demand, "LOOK_AGAIN_SECONDS", 0.0)
    return cluster


def test_one_task_waits_for_each_gpu_that_is_missing(cluster):
    demand = GpuDemand(cluster, 8, 2)
    assert demand.ask(100) == Joined(0, 8)
    assert (len(cluster.waiting), cluster.needs) == (8, {Needs(2, 1.0)})
    cluster.gpus = 3
    cluster.end(3)
    assert demand.ask(100).missing == len(cluster.waiting) == 5
    cluster.end(1)  # on a GPU that was free for a moment
    assert demand.ask(100).missing == len(cluster.waiting) == 5
    cluster.gpus = 2
    assert demand.ask(100).missing == len(cluster.waiting) == 6, "a lost one is asked for again"
    cluster.gpus = 9
    assert demand.ask(100).missing == len(cluster.waiting) == 0


def test_no_more_than_there_is_work_for(cluster):
    demand = GpuDemand(cluster, 8)
    assert (demand.ask(3), len(cluster.waiting)) == (Joined(0, 3), 3)
    assert (demand.ask(1), len(cluster.waiting)) == (Joined(0, 1), 1)
    demand.close()
    assert len(cluster.waiting) == 0


def test_between_two_looks_nothing_is_asked(cluster, monkeypatch):
    monkeypatch.setattr(gpu_demand, "LOOK_AGAIN_SECONDS", 1e6)
    demand = GpuDemand(cluster, 2)
    assert demand.ask(9) == Joined(0, 2)
    cluster.gpus = 2
    assert demand.ask(9) == Joined(0, 2)


def test_in_words():
    assert str(Joined(0, 8)) == "This cluster has 0 GPUs; 8 more are asked for."
    assert str(Joined(1, 2)) == "This cluster has 1 GPU; 1 more is asked for."
    assert str(Joined(3, 2)) == "This cluster has 3 GPUs."
