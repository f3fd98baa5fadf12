"""Task runner on Ray; distinguishes errors of a task from the death of its process or node."""

import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.experiment.feasibility import Resources
from orchestrator.experiment.placement import Placement
from orchestrator.foundation.buckets.s3 import first_line
from orchestrator.foundation.logs import start_from_environment
from orchestrator.runtime.head_node import on_head
from orchestrator.runtime.on_ray.ray_updates import RayUpdates
from orchestrator.runtime.progress_updates import NO_PROGRESS, ProgressUpdates
from orchestrator.runtime.task_runner import Ended, Needs, Shared, Task, Update, steps_of
from trainables.errors import RunError

_DIED = (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError)


class RayRunner:
    """Runs tasks on the Ray that this process is connected to.

    Args:
        resources: The cluster's resources at the time of connecting.
        placement: Kind of node that tasks with resources run on, but for those of a node of their own.
    """

    distributed = True

    def __init__(self, resources: Resources, placement: Placement = Placement()) -> None:  # noqa: B008 - immutable
        self.resources, self._placement = resources, placement
        self._updates: ProgressUpdates = NO_PROGRESS

    def submit(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        needs: Needs = Needs(),  # noqa: B008 - immutable
        retries: int = 4,
        name: str = "",
    ) -> Task:
        """Submits a call to Ray."""
        options: dict[str, object] = {"num_cpus": needs.cpus, "num_gpus": needs.gpus, "max_retries": retries}
        if needs.head:
            options |= on_head()
        if name:
            options["name"] = name.encode(errors="replace").decode()
        if needs.node is not None:
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(needs.node, soft=False)
        elif not needs.head and (needs.cpus or needs.gpus):
            options |= self._placement.task_options(needs.gpus)
        named = _Submission(uuid.uuid4().hex, name, self._updates) if name and retries else None
        return RayTask(_run.options(**options).remote(function, arguments, named), needs.node or "")

    def wait(self, tasks: Collection[Task], seconds: float | None = None) -> list[Update | Ended]:
        """Waits for the first update or end of a task; gives one event of every task that has one by then.

        Raises:
            RunError: If Ray on this machine has died, after which nothing can be started.
        """
        streams = {task.stream: task for task in tasks if isinstance(task, RayTask)}
        ready, rest = ray.wait(list(streams), num_returns=1, timeout=seconds)
        if ready and rest:
            ready += ray.wait(rest, num_returns=len(rest), timeout=0)[0]
        return [_next_event(streams[stream]) for stream in ready]

    def cancel(self, task: Task) -> None:
        """Kills the task's process."""
        assert isinstance(task, RayTask)
        ray.cancel(task.stream, force=True)

    def share(self, value: Any) -> Shared:
        """Puts a value into Ray's object store; each process unpacks it once."""
        return _Stored([ray.put(value)])

    def nodes(self) -> dict[str, dict[str, float]]:
        """Resources of the nodes that are alive, by their id."""
        return alive_nodes()

    def free(self) -> str:
        """Free resources of the cluster at the moment, in words."""
        total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
        kinds = ["CPU", "GPU"] if total.get("GPU") else ["CPU"]
        return " and ".join(f"{free.get(kind, 0):g} of {total.get(kind, 0):g} {kind}s are free" for kind in kinds)

    def progress(self) -> ProgressUpdates:
        """Starts an actor for the latest updates; of tasks submitted from now on, losses are logged there."""
        self._updates = RayUpdates.start()
        return self._updates


def alive_nodes() -> dict[str, dict[str, float]]:
    """Resources of the nodes that are alive, by their id."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return {node["NodeID"]: node["Resources"] for node in nodes if node["Alive"]}


@dataclass(eq=False, slots=True)
class RayTask:
    """Handle of a task.

    Attributes:
        stream: Ray's stream of its updates and result.
        node: Id of the node that it must run on, or on which it has begun; empty if not known.
    """

    stream: Any
    node: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """An item of a task's stream: an update, and the id of its node."""

    value: Any
    node: str


@dataclass(frozen=True, slots=True)
class Returned(Item):
    """Last item of a task's stream: its result."""


@dataclass(frozen=True, slots=True)
class _Stored:
    reference: list[Any]  # boxed: Ray would unpack a reference among arguments for each task

    def get(self) -> Any:
        return _unpacked(self.reference[0])


@lru_cache(maxsize=1)
def _unpacked(reference: Any) -> Any:
    return ray.get(reference)


@dataclass(frozen=True, slots=True)
class _Submission:
    """A submitted task, which begins more than once if it is lost."""

    id: str
    name: str
    updates: ProgressUpdates

    def begins(self) -> None:
        with suppress(Exception):  # a lost line must not end the work
            self.updates.begin(self.id, self.name)


@ray.remote(num_returns="streaming")
def _run(function: Callable[..., Any], arguments: tuple[Any, ...], submission: _Submission | None) -> Iterator[Any]:
    start_from_environment()
    if submission is not None:
        submission.begins()
    steps, node = steps_of(function, arguments), ray.get_runtime_context().get_node_id()
    while True:
        try:
            item = Item(next(steps), node)
        except StopIteration as end:
            yield Returned(end.value, node)
            return
        yield item


def _next_event(task: RayTask) -> Update | Ended:
    """The next update of a task, or its end.

    An exception of the task's own code is its error. Anything else that Ray reports (a node or its raylet died, an
    object was lost, a process could not be started) counts as a loss without any fault of the task. A task that a
    living node does not take is not lost.

    Raises:
        RunError: If the raylet of this machine has died.
    """
    try:
        item: Item = ray.get(next(task.stream))
        task.node = item.node
        end = isinstance(item, Returned)
        return Ended(task, item.value, node=item.node) if end else Update(task, item.value, item.node)
    except _DIED as error:
        memory = isinstance(error, ray.exceptions.OutOfMemoryError)
        reason = "its node ran out of memory" if memory else "the process that worked on it died"
        return Ended(task, death=reason, node=task.node)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause or error
        if isinstance(cause, ray.exceptions.RayError) and not isinstance(cause, ray.exceptions.RayTaskError):
            return Ended(task, lost=first_line(cause), node=task.node)
        return Ended(task, error=cause, node=task.node)
    except ray.exceptions.LocalRayletDiedError as error:
        raise RunError(
            f"Ray on this machine has ended ({first_line(error)}); what had finished is kept, and the same command "
            "goes on."
        ) from None
    except ray.exceptions.TaskUnschedulableError as error:
        if task.node in alive_nodes():
            return Ended(task, unschedulable=first_line(error), node=task.node)
        return Ended(task, lost=first_line(error), node=task.node)
    except (ray.exceptions.RayError, StopIteration) as error:
        return Ended(task, lost=first_line(error), node=task.node)
    except Exception as error:  # its value cannot be unpickled here
        return Ended(task, error=error)
