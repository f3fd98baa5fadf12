"""Pool of tasks on Ray: runs a worker's three functions, and distinguishes the death of a process from that of a node.

Ray itself repeats nothing here, since only the driver knows how often a scene may be tried.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.archive.batch.listing import Scene
from orchestrator.archive.batch.worker import Failed, Outcome, PartFinished, Worker
from orchestrator.archive.scene.types import Rows
from orchestrator.foundation.s3 import first_line
from trainables.errors import reason_of

_LOOK_AGAIN_SECONDS = 5.0
_FLOOR_SECONDS = 3600.0
_SECONDS_PER_SAMPLE = 1e-4
_SAMPLES_PER_BYTE = 20
_DIED = (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One call of a worker.

    Attributes:
        scene: The scene.
        step: Name of the worker's function.
        workers: For ``begin``: how many are free to share the scene; 0 where there is but one.
        rows: For ``part``: which LR rows.
        parts: For ``finish``: all of them.
        node: The node it must run on; None for any.
        round: Number of the scene's attempt that it belongs to.
    """

    scene: Scene
    step: str
    workers: int = 1
    rows: Rows = (0, 0)
    parts: tuple[PartFinished, ...] = ()
    node: str | None = None
    round: int = 1


@dataclass(frozen=True, slots=True)
class Ended:
    """End of a task: with an outcome, with the death of its worker, or with the loss of its node."""

    task: Task
    outcome: Outcome | None = None
    node: str = ""
    death: str | None = None
    lost: str | None = None


@dataclass(frozen=True, slots=True)
class Slots:
    """Number of tasks that can run at once: those that compute, and those that only join and store parts."""

    compute: int
    finish: int


class Pool(Protocol):
    """Interface of a driver to whatever runs its tasks."""

    def slots(self) -> Slots:
        """Number of tasks that can run at once, now."""

    def submit(self, task: Task) -> None:
        """Starts a task, at once or as soon as there is room."""

    def wait(self, seconds: float) -> list[Ended]:
        """Tasks that have ended since; waits for the first of them, so long at most."""


class RayPool:
    """A pool on the Ray that this process is connected to.

    Args:
        worker: Copied once to every process that works.
        cpus: CPUs of each task.
        gpus: GPUs of each task that computes.
        seconds: Time limit of a task; None for that of :func:`time_limit`.
    """

    def __init__(self, worker: Worker, cpus: int = 1, gpus: float = 0.0, seconds: float | None = None) -> None:
        self._worker = [ray.put(worker)]  # boxed: each process unpacks it once
        self._cpus, self._gpus, self._seconds = cpus, gpus, seconds
        self._running: dict[Any, Task] = {}
        self._clocks: dict[Any, _Clock] = {}
        self._slots, self._seen = Slots(0, 0), 0.0

    def slots(self) -> Slots:
        """Number of tasks that fit the living nodes; at least one, so that an autoscaler sees the demand."""
        if time.monotonic() - self._seen > _LOOK_AGAIN_SECONDS:
            finish = sum(int(node.get("CPU", 0) / self._cpus) for node in alive_nodes().values())
            compute = sum(int(node.get("GPU", 0) / self._gpus) for node in alive_nodes().values()) if self._gpus else 0
            self._slots = Slots(max(compute if self._gpus else finish, 1), max(finish, 1))
            self._seen = time.monotonic()
        return self._slots

    def submit(self, task: Task) -> None:
        """Hands a task to Ray."""
        gpus = self._gpus if task.step == "part" else 0
        # A generator: it says when it starts, and from then on its time runs.
        options: dict[str, Any] = {
            **{"num_cpus": self._cpus, "num_gpus": gpus, "max_retries": 0, "num_returns": "streaming"},
            "name": f"{task.step} {task.scene.name}".encode(errors="replace").decode(),
        }
        if task.node is not None:
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(task.node, soft=False)
        self._running[_run.options(**options).remote(self._worker, task)] = task

    def wait(self, seconds: float) -> list[Ended]:
        """Waits for the first task that ends and takes all that have ended with it; ends those whose time is over."""
        until = time.monotonic() + seconds
        while self._running:
            left = max(min([until, *(clock.ends for clock in self._clocks.values())]) - time.monotonic(), 0.0)
            ready, rest = ray.wait(list(self._running), num_returns=1, timeout=left)
            if ready and rest:
                ready += ray.wait(rest, num_returns=len(rest), timeout=0)[0]
            ended = [end for stream in ready if (end := self._heard(stream)) is not None] + self._late()
            if ended or time.monotonic() >= until:
                return ended
        return []

    def cancel(self) -> None:
        """Stops whatever still runs."""
        for stream in self._running:
            ray.cancel(stream, force=True)
        self._running.clear()
        self._clocks.clear()

    def _heard(self, stream: Any) -> Ended | None:
        """Takes a task's next message: that it has started, how large its scene is, or how it ended."""
        task = self._running[stream]
        ended = _ended(task, stream)
        if isinstance(ended, Ended):
            self._forget(stream)
            return ended
        clock = self._clocks.setdefault(stream, _Clock(time.monotonic()))
        clock.seconds = self._seconds or time_limit(ended.samples, task.scene.size)
        return None

    def _late(self) -> list[Ended]:
        late = [stream for stream, clock in self._clocks.items() if clock.ends <= time.monotonic()]
        ended = []
        for stream in late:
            reason = f"it took longer than {self._clocks[stream].seconds:,.0f} s; --scene-timeout allows more"
            ray.cancel(stream, force=True)
            ended.append(Ended(self._running[stream], Failed("timeout", reason)))
            self._forget(stream)
        return ended

    def _forget(self, stream: Any) -> None:
        del self._running[stream]
        self._clocks.pop(stream, None)


@dataclass(slots=True)
class _Clock:
    """Start and time limit of a task."""

    began: float
    seconds: float = _FLOOR_SECONDS

    @property
    def ends(self) -> float:
        return self.began + self.seconds


@dataclass(frozen=True, slots=True)
class _Started:
    """First message of a task: pixels times bands of its scene, None while they are not known."""

    samples: int | None = None


def time_limit(samples: int | None, size: int) -> float:
    """Seconds that a task may take: an hour, and a hundred times what a sample takes with a packaged model.

    Args:
        samples: Pixels times bands of the scene; None if not known.
        size: Bytes of its file, from which they are then guessed.
    """
    return _FLOOR_SECONDS + _SECONDS_PER_SAMPLE * (size * _SAMPLES_PER_BYTE if samples is None else samples)


def alive_nodes() -> dict[str, dict[str, float]]:
    """Resources of the nodes that are alive, by their id."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return {node["NodeID"]: node["Resources"] for node in nodes if node["Alive"]}


def on_every_node(function: Any, *arguments: Any, seconds: float = 60.0) -> Iterator[tuple[str, Any]]:
    """Calls a function once on each node; gives its id and the result, or the error that was raised."""
    remote = ray.remote(num_cpus=0, max_retries=0)(function)
    calls = {
        remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(*arguments): node
        for node in alive_nodes()
    }
    done, _ = ray.wait(list(calls), num_returns=len(calls), timeout=seconds)
    for call in done:
        try:
            yield calls[call], ray.get(call)
        except ray.exceptions.RayError as error:
            yield calls[call], error


def _ended(task: Task, stream: Any) -> "Ended | _Started":
    """Returns the end of a task, or its first message.

    What its own code raised is the scene's failure. Whatever else Ray reports (a node or its raylet died, an object was
    lost, a process could not be started) is the machinery's, and the scene is done again.
    """
    try:
        heard = ray.get(next(stream))
        return heard if isinstance(heard, _Started) else Ended(task, *heard)
    except _DIED as error:
        memory = isinstance(error, ray.exceptions.OutOfMemoryError)
        return Ended(task, death="its node ran out of memory" if memory else "the process that worked on it died")
    except ray.exceptions.RayTaskError as error:
        cause = error.cause or error
        if isinstance(cause, ray.exceptions.RayError) and not isinstance(cause, ray.exceptions.RayTaskError):
            return Ended(task, lost=first_line(cause))
        return Ended(task, Failed("error", reason_of(cause)))
    except (ray.exceptions.RayError, StopIteration) as error:
        return Ended(task, lost=first_line(error))
    except Exception as error:  # what it sent cannot be read here
        return Ended(task, Failed("error", reason_of(error)))


@lru_cache(maxsize=1)
def _unpacked(reference: Any) -> Any:
    return ray.get(reference)


@ray.remote
def _run(boxed: list[Any], task: Task) -> Iterator[Any]:
    yield _Started()
    worker = _unpacked(boxed[0])
    if task.step != "finish":
        yield _Started(_samples(worker, task.scene))
    if task.step == "begin":
        outcome = worker.begin(task.scene, task.workers)
    elif task.step == "part":
        outcome = worker.part(task.scene, task.rows)
    else:
        outcome = worker.finish(task.scene, list(task.parts))
    yield outcome, ray.get_runtime_context().get_node_id()


def _samples(worker: Any, scene: Scene) -> int | None:
    try:
        return worker.samples(scene)  # type: ignore[no-any-return]
    except Exception:  # what is wrong with it is said by the work itself
        return None
