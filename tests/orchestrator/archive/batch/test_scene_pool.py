"""How tasks end: on a clock and updates that tests move. Ray itself is in test_archive_driver_cluster.py."""

from collections import deque

import pytest

from orchestrator.archive.batch import scene_pool
from orchestrator.archive.batch.scene_pool import ScenePool, Slots, Started, Task, on_every_node, time_limit
from orchestrator.archive.batch.worker import Failed, Finished, Unfit
from orchestrator.archive.places.listing import Scene
from orchestrator.experiment.feasibility import Resources
from orchestrator.runtime.task_runner import HERE, Ended, InProcessRunner, Update


class Scripted(InProcessRunner):
    """Says of each task what a test puts into its stream, and has a clock that runs while somebody waits."""

    def __init__(self):
        super().__init__(Resources(2, 0, 0))
        self.now, self.cancelled, self.streams = 0.0, [], {}
        self.alive, self.needs = {"node": {"CPU": 2.0}}, {}

    def nodes(self):
        return self.alive

    def submit(self, function, worker, task, *, needs, retries, name):
        assert retries == 0, "only the driver knows how often a scene may be tried"
        self.needs[task.scene.name] = needs
        return self.streams.setdefault(task.scene.name, Stream(task.scene.name))

    def wait(self, tasks, seconds):
        ready = [stream for stream in tasks if stream]
        if not ready:
            self.now += seconds
        return [self._event(stream) for stream in ready]

    def _event(self, stream):
        said = stream.popleft()
        return Update(stream, said, "node") if isinstance(said, Started) else Ended(stream, **said)

    def cancel(self, stream):
        self.cancelled.append(stream.name)


class Stream(deque):
    """What one task says, in turn."""

    def __init__(self, name):
        super().__init__()
        self.name = name

    __hash__ = object.__hash__

    def __eq__(self, other):
        return self is other


@pytest.fixture
def runner(monkeypatch):
    runner = Scripted()
    monkeypatch.setattr(scene_pool.time, "monotonic", lambda: runner.now)
    monkeypatch.setattr(scene_pool.time, "sleep", lambda seconds: setattr(runner, "now", runner.now + seconds))
    return runner


def task(name, size=0):
    return Task(scene=Scene(name, f"/in/{name}", "1", size, 0.0, f"/out/{name}"), step="begin")


DONE = {"value": Finished({}), "node": "node"}


def test_a_task_whose_time_is_over_is_cancelled_and_the_others_go_on(runner):
    pool = ScenePool(runner, None, seconds=60.0)
    for name in ("slow", "a", "waiting"):
        pool.submit(task(name))
    runner.streams["slow"] += [Started(), Started(10)]
    runner.streams["a"] += [Started(), DONE]
    assert [(end.task.scene.name, end.outcome) for end in pool.wait(1.0)] == [("a", DONE["value"])]
    for _ in range(58):
        assert pool.wait(1.0) == []
    (late,) = pool.wait(2.0)
    assert late.task.scene.name == "slow"
    assert late.outcome == Failed("timeout", "it took longer than 60 s; --scene-timeout allows more")
    assert runner.cancelled == ["slow"]
    assert runner.now == 60.0, "it is noticed when it is over, not when the next task ends"
    runner.streams["waiting"] += [Started(), DONE]  # it was not at work: none of its time had run
    assert [end.task.scene.name for end in pool.wait(1.0)] == ["waiting"]
    assert pool.wait(1.0) == []


def test_waiting_for_room_takes_no_time(runner):
    pool = ScenePool(runner, None, seconds=5.0)
    pool.submit(task("a"))
    for _ in range(20):
        assert pool.wait(1.0) == []
    runner.streams["a"] += [Started()]
    assert pool.wait(1.0) == []
    assert runner.cancelled == []
    runner.streams["a"] += [DONE]
    assert len(pool.wait(1.0)) == 1


def test_without_a_limit_a_task_gets_an_hour_and_what_its_samples_take(runner):
    pool = ScenePool(runner, None)
    for name in ("small", "large"):
        pool.submit(task(name))
        runner.streams[name] += [Started(), Started(16 * 16 * 20 if name == "small" else 10**9)]
    (late,) = pool.wait(10_000.0)
    assert (late.task.scene.name, late.outcome.error) == ("small", "timeout")
    assert 3600.0 < runner.now < 3601.0
    (late,) = pool.wait(1e6)
    assert late.task.scene.name == "large"
    assert runner.now == pytest.approx(103_600.0)


def test_how_long_a_task_may_take():
    assert time_limit(0, 10**9) == 3600.0
    assert time_limit(10**6, 0) == 3700.0
    assert time_limit(None, 10**6) == 3600.0 + 20 * 100.0, "guessed from its bytes"
    assert time_limit(16 * 16 * 5000, 0) == pytest.approx(3728.0)


def test_while_the_header_is_read_the_hour_runs(runner):
    """A file system that hangs when a file is opened."""
    pool = ScenePool(runner, None)
    pool.submit(task("a"))
    runner.streams["a"] += [Started()]
    (late,) = pool.wait(1e9)
    assert (late.outcome.error, runner.now) == ("timeout", 3600.0)


@pytest.mark.parametrize("way", ["death", "lost"])
def test_a_process_that_dies_and_a_node_that_is_lost_are_told_apart(runner, way):
    pool = ScenePool(runner, None)
    pool.submit(task("a"))
    runner.streams["a"] += [Started(), {way: "why"}]
    (end,) = pool.wait(1.0)
    assert (end.outcome, end.death, end.lost) == (None, *(("why", None) if way == "death" else (None, "why")))
    assert pool.wait(1.0) == []


GPU_NODES = {"head": {"CPU": 4.0}, "a": {"CPU": 8.0, "GPU": 1.0}, "b": {"CPU": 1.0, "GPU": 2.0}}


def test_nodes_that_compute_have_a_gpu_and_a_cpu_for_it(runner):
    runner.alive = dict(GPU_NODES)
    slots = ScenePool(runner, None, gpus=1.0).slots()
    assert (slots.compute, slots.finish) == (2, 4 + 7 + 1)
    assert slots.nodes == {"a": Slots(1, 7), "b": Slots(1, 1)}
    cpus = ScenePool(runner, None, cpus=2).slots()
    assert (cpus.compute, cpus.finish, list(cpus.nodes)) == (6, 6, ["head", "a"])
    runner.alive = {"head": {"CPU": 4.0}}
    none = ScenePool(runner, None, gpus=1.0).slots()
    assert (none.compute, dict(none.nodes)) == (1, {})


@pytest.mark.parametrize("why", ["lost", "unschedulable"])
def test_a_node_that_lost_or_refused_a_task_is_left_alone_for_some_time(runner, why):
    runner.alive = dict(GPU_NODES)
    pool = ScenePool(runner, None, gpus=1.0)
    assert list(pool.slots().nodes) == ["a", "b"]
    pool.submit(task("scene"))
    runner.streams["scene"] += [{why: "why", "node": "a"}]
    (end,) = pool.wait(1.0)
    assert (end.node, end.lost or end.unschedulable, end.death, end.outcome) == ("a", "why", None, None)
    assert list(pool.slots().nodes) == ["b"]
    runner.now += 31.0
    assert list(pool.slots().nodes) == ["a", "b"]


@pytest.mark.parametrize("node_lives", [True, False])
def test_a_process_that_dies_just_before_its_node_is_lost_with_it(runner, node_lives):
    """Where a machine is taken away, its processes end in any order."""
    runner.alive = dict(GPU_NODES)
    pool = ScenePool(runner, None, gpus=1.0)
    pool.slots()
    for name in ("scene", "other"):
        pool.submit(task(name))
    runner.streams["scene"] += [Started(), {"death": "it died", "node": "a"}]
    runner.streams["other"] += [Started(), DONE]
    assert [end.task.scene.name for end in pool.wait(1.0)] == ["other"], "the others do not wait for the verdict"
    if not node_lives:
        del runner.alive["a"]
    (end,) = pool.wait(60.0)
    assert (end.death, end.lost) == (("it died", None) if node_lives else (None, "it died"))
    assert runner.now == pytest.approx(5.0, abs=0.5)
    assert pool.wait(1.0) == []


def test_a_node_whose_gpu_cannot_be_used_refuses_the_scene(runner):
    pool = ScenePool(runner, None)
    pool.submit(task("a"))
    runner.streams["a"] += [Started(), {"value": Unfit("no driver"), "node": "node"}]
    (end,) = pool.wait(1.0)
    assert (end.outcome, end.unschedulable, end.node) == (None, "no driver", "node")


def test_what_a_worker_raises_is_the_scenes_failure(runner):
    pool = ScenePool(runner, None)
    pool.submit(task("a"))
    runner.streams["a"] += [Started(), {"error": ZeroDivisionError("why")}]
    (end,) = pool.wait(1.0)
    assert end.outcome == Failed("error", "ZeroDivisionError: why")


def test_cancelling_ends_all_and_forgets_them(runner):
    pool = ScenePool(runner, None)
    for name in "ab":
        pool.submit(task(name))
        runner.streams[name] += [Started()]
    pool.wait(0.0)
    pool.cancel()
    assert sorted(runner.cancelled) == ["a", "b"]
    assert pool.wait(1.0) == []


class Raises:
    """A worker whose header cannot be read."""

    def samples(self, scene):
        raise OSError("no")

    def begin(self, scene, workers):
        return Failed("corrupt", "why")


def test_a_header_that_cannot_be_read_is_told_by_the_work():
    pool = ScenePool(InProcessRunner(Resources(2, 0, 0)), Raises())
    pool.submit(task("a"))
    (end,) = pool.wait(1.0)
    assert (end.outcome, end.node) == (Failed("corrupt", "why"), HERE)


def test_a_call_on_every_node_gives_results_and_errors():
    assert list(on_every_node(InProcessRunner(Resources(2, 0, 0)), divmod, 7, 2)) == [(HERE, (3, 1))]
    ((_, error),) = on_every_node(InProcessRunner(Resources(2, 0, 0)), divmod, 7, 0)
    assert isinstance(error, ZeroDivisionError)
