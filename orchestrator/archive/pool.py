"""Scenes on Ray: where a worker's three functions run, and how the death of a process or a node is told apart.

Ray itself repeats nothing here, since only the driver knows how often a scene may be tried.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.archive.contract import Rows
from orchestrator.archive.listing import Scene
from orchestrator.archive.objects import first_line
from orchestrator.archive.work import Failed, Outcome, PartDone, Worker

_LOOK_AGAIN_SECONDS = 5.0
_LOST = (
    ray.exceptions.NodeDiedError,
    ray.exceptions.TaskUnschedulableError,  # bound to a node that is gone
    ray.exceptions.ObjectLostError,
)
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
        round: Which of the scene's attempts it belongs to.
    """

    scene: Scene
    step: str
    workers: int = 1
    rows: Rows = (0, 0)
    parts: tuple[PartDone, ...] = ()
    node: str | None = None
    round: int = 1


@dataclass(frozen=True, slots=True)
class Ended:
    """How a task ended: with an outcome, with the death of its worker, or with the loss of its node."""

    task: Task
    outcome: Outcome | None = None
    node: str = ""
    death: str | None = None
    lost: str | None = None


@dataclass(frozen=True, slots=True)
class Slots:
    """How many tasks can run at once: those that compute, and those that only join and store parts."""

    compute: int
    finish: int


class Pool(Protocol):
    """What a driver needs of whatever runs its tasks."""

    def slots(self) -> Slots:
        """What can run at once, now."""

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
    """

    def __init__(self, worker: Worker, cpus: int = 1, gpus: float = 0.0) -> None:
        self._worker = [ray.put(worker)]  # boxed: each process unpacks it once
        self._cpus, self._gpus = cpus, gpus
        self._running: dict[Any, Task] = {}
        self._slots, self._seen = Slots(0, 0), 0.0

    def slots(self) -> Slots:
        """What fits the nodes that are alive; at least one, so that an autoscaler sees what is wanted."""
        if time.monotonic() - self._seen > _LOOK_AGAIN_SECONDS:
            finish = sum(int(node.get("CPU", 0) / self._cpus) for node in alive_nodes().values())
            compute = sum(int(node.get("GPU", 0) / self._gpus) for node in alive_nodes().values()) if self._gpus else 0
            self._slots = Slots(max(compute if self._gpus else finish, 1), max(finish, 1))
            self._seen = time.monotonic()
        return self._slots

    def submit(self, task: Task) -> None:
        """Hands a task to Ray."""
        gpus = self._gpus if task.step == "part" else 0
        options: dict[str, Any] = {"num_cpus": self._cpus, "num_gpus": gpus, "max_retries": 0}
        if task.node is not None:
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(task.node, soft=False)
        reference = _run.options(name=f"{task.step} {task.scene.name}", **options).remote(self._worker, task)
        self._running[reference] = task

    def wait(self, seconds: float) -> list[Ended]:
        """Waits for the first task that ends and takes all that have ended with it."""
        if not self._running:
            return []
        ready, rest = ray.wait(list(self._running), num_returns=1, timeout=seconds)
        if ready and rest:
            ready += ray.wait(rest, num_returns=len(rest), timeout=0)[0]
        return [_ended(self._running.pop(reference), reference) for reference in ready]

    def cancel(self) -> None:
        """Stops whatever still runs."""
        for reference in self._running:
            ray.cancel(reference, force=True)
        self._running.clear()


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


def _ended(task: Task, reference: Any) -> Ended:
    try:
        outcome, node = ray.get(reference)
        return Ended(task, outcome, node)
    except _DIED as error:
        memory = isinstance(error, ray.exceptions.OutOfMemoryError)
        return Ended(task, death="its node ran out of memory" if memory else "the process that worked on it died")
    except _LOST as error:
        return Ended(task, lost=first_line(error))
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error
        return Ended(task, Failed("error", f"{type(cause).__name__}: {first_line(cause)}"))


@lru_cache(maxsize=1)
def _unpacked(reference: Any) -> Any:
    return ray.get(reference)


@ray.remote
def _run(boxed: list[Any], task: Task) -> tuple[Outcome, str]:
    worker = _unpacked(boxed[0])
    if task.step == "begin":
        outcome = worker.begin(task.scene, task.workers)
    elif task.step == "part":
        outcome = worker.part(task.scene, task.rows)
    else:
        outcome = worker.finish(task.scene, list(task.parts))
    return outcome, ray.get_runtime_context().get_node_id()
