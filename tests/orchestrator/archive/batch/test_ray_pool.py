"""How tasks end: on a clock and streams that tests move. Ray itself is in test_archive_driver_cluster.py."""

from collections import deque

import pytest
from ray import exceptions

from orchestrator.archive.batch import ray_pool as pool_module
from orchestrator.archive.batch.listing import Scene
from orchestrator.archive.batch.ray_pool import RayPool, Task, _Started, time_limit
from orchestrator.archive.batch.worker import Failed, Finished


class FakeRay:
    """Streams of what tasks say, and a clock that runs while somebody waits."""

    exceptions = exceptions

    def __init__(self):
        self.now, self.cancelled, self.names = 0.0, [], []

    def put(self, value):
        return value

    def get(self, said):
        if isinstance(said, Exception):
            raise said
        return said

    def wait(self, streams, num_returns, timeout):
        ready = [stream for stream in streams if stream]
        if not ready:
            self.now += timeout
        return ready[:num_returns], [stream for stream in streams if stream not in ready[:num_returns]]

    def cancel(self, stream, force):
        assert force, "a task that hangs does not end by itself"
        self.cancelled.append(stream.name)


class Stream(deque):
    """What one task says, in turn."""

    def __init__(self, name):
        super().__init__()
        self.name = name

    def __next__(self):
        return self.popleft()

    __hash__ = object.__hash__

    def __eq__(self, other):
        return self is other


@pytest.fixture
def ray(monkeypatch):
    fake = FakeRay()
    monkeypatch.setattr(pool_module, "ray", fake)
    monkeypatch.setattr(pool_module.time, "monotonic", lambda: fake.now)
    streams = {}

    class Remote:
        def options(self, **options):
            assert options["num_returns"] == "streaming"
            assert options["max_retries"] == 0
            fake.names.append(options["name"])
            return self

        def remote(self, worker, task):
            return streams.setdefault(task.scene.name, Stream(task.scene.name))

    monkeypatch.setattr(pool_module, "_run", Remote())
    fake.streams = streams
    return fake


def task(name, size=0):
    return Task(scene=Scene(name, f"/in/{name}", "1", size, 0.0, f"/out/{name}"), step="begin")


DONE = (Finished({}), "node")


def test_a_task_whose_time_is_over_is_cancelled_and_the_others_go_on(ray):
    pool = RayPool(None, seconds=60.0)
    for name in ("slow", "a", "waiting"):
        pool.submit(task(name))
    ray.streams["slow"] += [_Started(), _Started(10)]
    ray.streams["a"] += [_Started(), DONE]
    assert [(end.task.scene.name, end.outcome) for end in pool.wait(1.0)] == [("a", DONE[0])]
    for _ in range(58):
        assert pool.wait(1.0) == []
    (late,) = pool.wait(2.0)
    assert late.task.scene.name == "slow"
    assert late.outcome == Failed("timeout", "it took longer than 60 s; --scene-timeout allows more")
    assert ray.cancelled == ["slow"]
    assert ray.now == 60.0, "it is noticed when it is over, not when the next task ends"
    ray.streams["waiting"] += [_Started(), DONE]  # it was not at work: none of its time had run
    assert [end.task.scene.name for end in pool.wait(1.0)] == ["waiting"]
    assert pool.wait(1.0) == []


def test_waiting_for_room_takes_no_time(ray):
    pool = RayPool(None, seconds=5.0)
    pool.submit(task("a"))
    for _ in range(20):
        assert pool.wait(1.0) == []
    ray.streams["a"] += [_Started()]
    assert pool.wait(1.0) == []
    assert ray.cancelled == []
    ray.streams["a"] += [DONE]
    assert len(pool.wait(1.0)) == 1


def test_without_a_limit_a_task_gets_an_hour_and_what_its_samples_take(ray):
    pool = RayPool(None)
    for name in ("small", "large"):
        pool.submit(task(name))
        ray.streams[name] += [_Started(), _Started(16 * 16 * 20 if name == "small" else 10**9)]
    (late,) = pool.wait(10_000.0)
    assert (late.task.scene.name, late.outcome.error) == ("small", "timeout")
    assert 3600.0 < ray.now < 3601.0
    (late,) = pool.wait(1e6)
    assert late.task.scene.name == "large"
    assert ray.now == pytest.approx(103_600.0)


def test_how_long_a_task_may_take():
    assert time_limit(0, 10**9) == 3600.0
    assert time_limit(10**6, 0) == 3700.0
    assert time_limit(None, 10**6) == 3600.0 + 20 * 100.0, "guessed from its bytes"
    assert time_limit(16 * 16 * 5000, 0) == pytest.approx(3728.0)


def test_while_the_header_is_read_the_hour_runs(ray):
    """A file system that hangs when a file is opened."""
    pool = RayPool(None)
    pool.submit(task("a"))
    ray.streams["a"] += [_Started()]
    (late,) = pool.wait(1e9)
    assert (late.outcome.error, ray.now) == ("timeout", 3600.0)


def raised(error):
    """As Ray hands over what a task's own code raised."""
    return exceptions.RayTaskError("begin", "traceback", error)


INFRASTRUCTURE = [
    exceptions.NodeDiedError("node"),
    exceptions.LocalRayletDiedError(),
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


@pytest.mark.parametrize("error", INFRASTRUCTURE, ids=lambda error: type(error).__name__)
def test_what_ray_itself_reports_is_no_scenes_fault(ray, error):
    pool = RayPool(None)
    pool.submit(task("a"))
    ray.streams["a"] += [_Started(), error]
    (end,) = pool.wait(1.0)
    assert (end.outcome, end.death) == (None, None)
    assert end.lost
    assert pool.wait(1.0) == []


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (exceptions.WorkerCrashedError(), "the process that worked on it died"),
        (exceptions.OutOfMemoryError("oom"), "its node ran out of memory"),
    ],
)
def test_a_process_that_dies_is_a_death(ray, error, words):
    pool = RayPool(None)
    pool.submit(task("a"))
    ray.streams["a"] += [error]
    (end,) = pool.wait(1.0)
    assert (end.death, end.outcome, end.lost) == (words, None, None)


@pytest.mark.parametrize("error", [raised(ZeroDivisionError("why")), raised(KeyError("why")), TypeError("why")])
def test_what_a_worker_raises_is_the_scenes_failure(ray, error):
    pool = RayPool(None)
    pool.submit(task("a"))
    ray.streams["a"] += [_Started(), error]
    (end,) = pool.wait(1.0)
    assert end.outcome.error == "error"
    assert "why" in end.outcome.message
    assert "Error: " in end.outcome.message


def test_a_name_that_is_not_utf8_reaches_ray_in_a_form_that_it_takes(ray):
    RayPool(None).submit(task("\udcff.tif"))
    ray.names[0].encode()


def test_cancelling_ends_all_and_forgets_them(ray):
    pool = RayPool(None)
    for name in "ab":
        pool.submit(task(name))
        ray.streams[name] += [_Started()]
    pool.wait(0.0)
    pool.cancel()
    assert sorted(ray.cancelled) == ["a", "b"]
    assert pool.wait(1.0) == []


class Raises:
    """A worker whose header cannot be read."""

    def samples(self, scene):
        raise OSError("no")

    def begin(self, scene, workers):
        return Failed("corrupt", "why")


def test_a_header_that_cannot_be_read_is_told_by_the_work(monkeypatch):
    assert pool_module._samples(Raises(), task("a").scene) is None
    assert pool_module._samples(object(), task("a").scene) is None
