"""How Ray's words for the end of a task are understood; Ray itself is in the tests marked cluster."""

import sys
from collections import deque

import pytest
import ray
from ray import exceptions

from orchestrator.experiment.feasibility import Resources
from orchestrator.runtime.on_ray import ray_runner
from orchestrator.runtime.on_ray.ray_runner import Item, RayRunner, RayTask, Returned
from orchestrator.runtime.task_runner import Ended, Needs, Update
from trainables.errors import RunError

# Workers cannot import a test.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Stream(deque):
    """What one task says, in turn."""

    def __next__(self):
        return self.popleft()

    __hash__ = object.__hash__


class FakeRay:
    """Ray, where each reference is what it refers to."""

    exceptions = exceptions

    def nodes(self):
        return [{"NodeID": "living", "Alive": True, "Resources": {}}, {"NodeID": "dead", "Alive": False}]

    def get(self, said):
        if isinstance(said, Exception):
            raise said
        return said

    def wait(self, streams, num_returns, timeout):
        ready = [stream for stream in streams if stream]
        return ready[:num_returns], [stream for stream in streams if stream not in ready[:num_returns]]


def heard(monkeypatch, *said, node=""):
    """All that is heard of a task which says this and must run on ``node``."""
    monkeypatch.setattr(ray_runner, "ray", FakeRay())
    task = RayTask(Stream(said), node)
    runner = RayRunner(Resources(2, 0, 0))
    events = [event for _ in said for event in runner.wait([task])]
    assert all(event.task is task for event in events)
    assert runner.wait([task], 0.0) == []
    return events


def raised(error):
    """As Ray hands over what a task's own code raised."""
    return exceptions.RayTaskError("begin", "traceback", error)


INFRASTRUCTURE = [
    exceptions.NodeDiedError("node"),
    exceptions.TaskUnschedulableError("gone"),
    exceptions.ObjectLostError("ab" * 28, None, ""),
    exceptions.OwnerDiedError("ab" * 28, None, ""),
    exceptions.RaySystemError("raylet"),
    exceptions.RuntimeEnvSetupError("pip"),
    exceptions.ObjectStoreFullError("full"),
    exceptions.OutOfDiskError("full"),
    exceptions.TaskCancelledError(),
    exceptions.GetTimeoutError("late"),
    StopIteration(),
    raised(exceptions.ObjectLostError("ab" * 28, None, "")),
    raised(exceptions.LocalRayletDiedError()),
]


def test_updates_come_before_the_end(monkeypatch):
    update, end = heard(monkeypatch, Item("half", "node"), Returned(7, "node"))
    assert (update, end) == (Update(update.task, "half", "node"), Ended(end.task, 7, node="node"))
    assert end.result() == 7


@pytest.mark.parametrize("error", INFRASTRUCTURE, ids=lambda error: type(error).__name__)
def test_what_ray_itself_reports_is_no_fault_of_the_task(monkeypatch, error):
    _, end = heard(monkeypatch, Item("started", "node"), error)
    assert (end.value, end.error, end.death, end.unschedulable, end.node) == (None, None, None, None, "node")
    assert end.lost


def test_a_task_that_a_living_node_does_not_take_is_not_lost(monkeypatch):
    error = exceptions.TaskUnschedulableError("it has no GPU")
    (end,) = heard(monkeypatch, error, node="living")
    assert (end.lost, end.unschedulable, end.node) == (None, "The task is not schedulable: it has no GPU", "living")
    with pytest.raises(RunError, match="it has no GPU"):
        end.result()
    (end,) = heard(monkeypatch, error, node="dead")
    assert (end.lost, end.unschedulable) == ("The task is not schedulable: it has no GPU", None)


def test_without_the_raylet_of_this_machine_nothing_goes_on(monkeypatch):
    """Each further task would fail at once, and with it its scene or trial."""
    with pytest.raises(RunError, match=r"has ended .*; what had finished is kept, and the same command goes on\.$"):
        heard(monkeypatch, exceptions.LocalRayletDiedError())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (exceptions.WorkerCrashedError(), "the process that worked on it died"),
        (exceptions.OutOfMemoryError("oom"), "its node ran out of memory"),
    ],
)
def test_a_process_that_dies_is_a_death(monkeypatch, error, words):
    (end,) = heard(monkeypatch, error)
    assert (end.death, end.error, end.lost) == (words, None, None)


@pytest.mark.parametrize("error", [raised(ZeroDivisionError("why")), raised(KeyError("why")), TypeError("why")])
def test_what_a_task_raises_is_its_error(monkeypatch, error):
    (end,) = heard(monkeypatch, error)
    assert isinstance(end.error, ZeroDivisionError | KeyError | TypeError)
    with pytest.raises(type(end.error), match="why"):
        end.result()


def double(number):
    yield "half"
    return 2 * number


@pytest.mark.cluster
def test_tasks_on_ray(ray_session):
    runner = RayRunner(Resources(2, 0, 0))
    plain, stream = runner.submit(divmod, 7, 2, name="\udcff"), runner.submit(double, 4)
    broken, ends, updates = runner.submit(divmod, 7, 0), {}, []
    while len(ends) < 3:
        for event in runner.wait({plain, stream, broken} - ends.keys(), 60.0):
            if isinstance(event, Ended):
                ends[event.task] = event
            else:
                updates.append(event.value)
    assert (ends[plain].result(), ends[stream].result(), updates) == ((3, 1), 8, ["half"])
    assert isinstance(ends[broken].error, ZeroDivisionError)
    assert ends[plain].node in runner.nodes()
    assert runner.share("shared").get() == "shared"
    assert "of 2 CPUs are free" in runner.free()
    progress = runner.progress()
    progress.report("a", 1, 2, "x")
    assert progress.latest(60.0) == {"a": (1, 2, "x")}


@pytest.mark.cluster
def test_a_node_without_a_gpu_does_not_take_a_task_that_needs_one(ray_session):
    runner = RayRunner(Resources(2, 0, 0))
    (node,) = runner.nodes()
    task = runner.submit(divmod, 7, 2, needs=Needs(cpus=1, gpus=1, node=node), retries=0)
    (end,) = runner.wait({task}, 60.0)
    assert (end.lost, end.death, end.error, end.node) == (None, None, None, node)
    assert end.unschedulable
