"""Scenes on a task runner: a worker's three functions as its tasks, each with a limit of time."""

import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from orchestrator.archive.batch.worker import Failed, Outcome, PartFinished, Unfit, Worker
from orchestrator.archive.places.listing import Scene
from orchestrator.archive.scene.types import Rows
from orchestrator.foundation.logs import log_context
from orchestrator.runtime import task_runner
from orchestrator.runtime.task_runner import Needs, TaskRunner
from trainables.errors import reason_of

log = logging.getLogger(__name__)

_LOOK_AGAIN_SECONDS = 5.0
_LEFT_ALONE_SECONDS = 30.0
"""Time in which no new scene goes to a node that lost or refused a task; Ray may list a dead node for so long."""

_GRACE_SECONDS = 5.0
"""Time until the last process of a node that ends has ended, and Ray has noticed it."""

_FLOOR_SECONDS = 3600.0
_SECONDS_PER_SAMPLE = 1e-4
_SAMPLES_PER_BYTE = 20


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
    parts: tuple[PartFinished, ...] = ()
    node: str | None = None
    round: int = 1


@dataclass(frozen=True, slots=True)
class Ended:
    """End of a task: with an outcome, with the death of its worker, or with no fault of its own.

    Attributes:
        task: The task.
        outcome: Its outcome; None if there is none.
        node: Id of its node; empty if not known.
        death: Reason why its process died on a node that lives.
        lost: Reason why it was lost with its node.
        unschedulable: Reason why a node that lives did not take it.
    """

    task: Task
    outcome: Outcome | None = None
    node: str = ""
    death: str | None = None
    lost: str | None = None
    unschedulable: str | None = None


@dataclass(frozen=True, slots=True)
class Slots:
    """Number of tasks that can run at once.

    Attributes:
        compute: Tasks that compute.
        finish: Tasks that only join and store parts.
        nodes: The same for each node that can do both, by id.
    """

    compute: int
    finish: int
    nodes: Mapping[str, "Slots"] = field(default_factory=dict)


class Pool(Protocol):
    """Interface of a driver to whatever runs its tasks."""

    def slots(self) -> Slots:
        """Number of tasks that can run at once, now."""

    def submit(self, task: Task) -> None:
        """Starts a task, at once or as soon as there is room."""

    def wait(self, seconds: float) -> list[Ended]:
        """Tasks that have ended since; waits for the first of them, so long at most."""


class ScenePool:
    """A pool on a task runner.

    Args:
        runner: Runs the tasks; it repeats nothing, since only the driver knows how often a scene may be tried.
        worker: Copied once to every process that works.
        cpus: CPUs of each task.
        gpus: GPUs of each task that computes.
        seconds: How long a task may run; None for what :func:`time_limit` gives.
    """

    def __init__(
        self, runner: TaskRunner, worker: Worker, cpus: int = 1, gpus: float = 0.0, seconds: float | None = None
    ) -> None:
        self._runner, self._worker = runner, runner.share(worker)
        self._cpus, self._gpus, self._seconds = cpus, gpus, seconds
        self._running: dict[task_runner.Task, Task] = {}
        self._clocks: dict[task_runner.Task, _Clock] = {}
        self._nodes: dict[str, Slots] = {}
        self._seen = float("-inf")
        self._left_alone: dict[str, float] = {}
        self._dead: list[tuple[float, Ended]] = []

    def slots(self) -> Slots:
        """Number of tasks that fit the living nodes; at least one, so that an autoscaler sees the demand."""
        now = time.monotonic()
        if now - self._seen > _LOOK_AGAIN_SECONDS:
            self._nodes = {node: self._slots_of(resources) for node, resources in self._runner.nodes().items()}
            self._seen = now
        usable = {node: slots for node, slots in self._nodes.items() if self._left_alone.get(node, now) <= now}
        compute, finish = (sum(getattr(slots, kind) for slots in usable.values()) for kind in ("compute", "finish"))
        both = {node: slots for node, slots in usable.items() if slots.compute and slots.finish}
        return Slots(max(compute, 1), max(finish, 1), both)

    def _slots_of(self, node: Mapping[str, float]) -> Slots:
        cpus = int(node.get("CPU", 0) / self._cpus)
        if not self._gpus:
            return Slots(cpus, cpus)
        gpus = min(int(node.get("GPU", 0) / self._gpus), cpus)
        return Slots(gpus, max(cpus - gpus, min(gpus, 1)))  # a CPU beside each GPU is kept for what computes

    def submit(self, task: Task) -> None:
        """Hands a task to the runner."""
        needs = Needs(self._cpus, self._gpus if task.step == "part" else 0, task.node)
        name = f"{task.step} {task.scene.name}"
        # A generator: it says when it starts, and from then on its time runs.
        handle = self._runner.submit(_work, self._worker, task, needs=needs, retries=0, name=name)
        self._running[handle] = task

    def wait(self, seconds: float) -> list[Ended]:
        """Waits for the first task that ends and takes all that have ended with it; ends those whose time is over."""
        until = time.monotonic() + seconds
        while self._running or self._dead:
            ends = [until, *(clock.ends for clock in self._clocks.values()), *(due for due, _ in self._dead)]
            left = max(min(ends) - time.monotonic(), 0.0)
            if not self._running:
                time.sleep(min(left, 0.5))
            events = self._runner.wait(self._running, left) if self._running else []
            ended = [end for event in events if (end := self._take(event)) is not None]
            ended = self._judged(ended) + self._late()
            if ended or time.monotonic() >= until:
                return ended
        return []

    def cancel(self) -> None:
        """Stops all running tasks."""
        for handle in self._running:
            self._runner.cancel(handle)
        self._running.clear()
        self._clocks.clear()
        self._dead.clear()

    def _take(self, event: task_runner.Update | task_runner.Ended) -> Ended | None:
        """Takes the next that a task says: that it has started, how large its scene is, or how it ended."""
        task = self._running[event.task]
        if isinstance(event, task_runner.Ended):
            self._forget(event.task)
            ended = _ended(task, event)
            with log_context(stage="upscale", scene=task.scene.name):
                why = ended.death or ended.lost or ended.unschedulable
                log.info("%s ended: %s", task.step, why or type(ended.outcome).__name__)
            return ended
        clock = self._clocks.setdefault(event.task, _Clock(time.monotonic()))
        clock.seconds = self._seconds or time_limit(event.value.samples, task.scene.size)
        return None

    def _judged(self, ended: list[Ended]) -> list[Ended]:
        """Ends whose cause is known: where a process has died, its node may be about to be lost too."""
        now, kept = time.monotonic(), []
        for end in ended:
            if end.death is not None and end.node and len(self._nodes) > 1:
                self._dead.append((now + _GRACE_SECONDS, end))
            else:
                kept.append(end)
        if self._dead and self._dead[0][0] <= now:
            alive = self._runner.nodes()
            known = [end for due, end in self._dead if due <= now]
            self._dead = [(due, end) for due, end in self._dead if due > now]
            kept += [end if end.node in alive else replace(end, death=None, lost=end.death) for end in known]
        for end in kept:
            if end.lost is not None or end.unschedulable is not None:
                self._seen = float("-inf")
                if end.node:
                    self._left_alone[end.node] = now + _LEFT_ALONE_SECONDS
        return kept

    def _late(self) -> list[Ended]:
        late = [handle for handle, clock in self._clocks.items() if clock.ends <= time.monotonic()]
        ended = []
        for handle in late:
            reason = f"it took longer than {self._clocks[handle].seconds:,.0f} s; --scene-timeout allows more"
            self._runner.cancel(handle)
            ended.append(Ended(self._running[handle], Failed("timeout", reason)))
            self._forget(handle)
        return ended

    def _forget(self, handle: task_runner.Task) -> None:
        del self._running[handle]
        self._clocks.pop(handle, None)


@dataclass(slots=True)
class _Clock:
    """Start and time limit of a task."""

    began: float
    seconds: float = _FLOOR_SECONDS

    @property
    def ends(self) -> float:
        return self.began + self.seconds


@dataclass(frozen=True, slots=True)
class Started:
    """First message of a task: pixels times bands of its scene, None while they are not known."""

    samples: int | None = None


def time_limit(samples: int | None, size: int) -> float:
    """Seconds that a task may take: an hour, and a hundred times what a sample takes with a packaged model.

    Args:
        samples: Pixels times bands of the scene; None if not known.
        size: Bytes of its file, from which they are then guessed.
    """
    return _FLOOR_SECONDS + _SECONDS_PER_SAMPLE * (guessed_samples(size) if samples is None else samples)


def guessed_samples(size: int) -> int:
    """Pixels times bands that a file of so many bytes may hold; few hold more."""
    return size * _SAMPLES_PER_BYTE


def on_every_node(
    runner: TaskRunner, function: Callable[..., Any], *arguments: Any, seconds: float = 60.0
) -> Iterator[tuple[str, Any]]:
    """Calls a function once on each node; gives its id and the result, or the error that there was."""
    calls = {runner.submit(function, *arguments, needs=Needs(node=node), retries=0): node for node in runner.nodes()}
    until = time.monotonic() + seconds
    while calls and (left := until - time.monotonic()) > 0:
        for event in runner.wait(calls, left):
            if isinstance(event, task_runner.Ended):
                yield calls.pop(event.task), _value_or_error(event)


def _value_or_error(ended: task_runner.Ended) -> Any:
    try:
        return ended.result()
    except Exception as error:
        return error


def _ended(task: Task, event: task_runner.Ended) -> Ended:
    """Returns the end of a task; what its own code raised is the scene's failure."""
    if event.error is not None:
        return Ended(task, Failed("error", reason_of(event.error)))
    if isinstance(event.value, Unfit):
        return Ended(task, node=event.node, unschedulable=event.value.reason)
    return Ended(task, event.value, event.node, event.death, event.lost, event.unschedulable)


def _work(shared: task_runner.Shared, task: Task) -> Generator[Started, None, Outcome]:
    yield Started()
    worker: Worker = shared.get()
    if task.step != "finish":
        yield Started(_samples(worker, task.scene))
    if task.step == "begin":
        return worker.begin(task.scene, task.workers)
    if task.step == "part":
        return worker.part(task.scene, task.rows)
    return worker.finish(task.scene, list(task.parts))


def _samples(worker: Any, scene: Scene) -> int | None:
    try:
        return worker.samples(scene)  # type: ignore[no-any-return]
    except Exception:  # what is wrong with it is said by the work itself
        return None
