"""Protocol of a task runner, and a runner that runs tasks one after another in this process.

Stages submit plain functions and wait for them. :mod:`orchestrator.runtime.on_ray.ray_runner` runs them on Ray; whole
experiments run in tests without it.
"""

import inspect
import logging
from collections.abc import Callable, Collection, Generator, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from orchestrator.experiment.feasibility import Resources
from orchestrator.experiment.settings import Cluster
from orchestrator.runtime.progress_updates import LocalUpdates, ProgressUpdates
from trainables.errors import RunError, reason_of

log = logging.getLogger(__name__)

Key = TypeVar("Key", bound=Hashable)

HERE = "here"
"""Id of the only node of a runner in this process."""


@dataclass(frozen=True, slots=True)
class Needs:
    """Resources of a task.

    Attributes:
        cpus: CPUs.
        gpus: GPUs, or a share of one.
        node: Id of the node it must run on; None for any.
        head: Whether it must run on the head node, as what waits for other tasks does: it must not be lost with a node
            that may go at any time.
    """

    cpus: float = 0.0
    gpus: float = 0.0
    node: str | None = None
    head: bool = False


DRIVER = Needs(head=True)
"""Resources of a driver, which computes nothing itself."""


class Task(Protocol):
    """Handle of a submitted task; equal to itself alone."""

    def __hash__(self) -> int:
        """By identity."""


@dataclass(frozen=True, slots=True)
class Update:
    """A value that a task has yielded before its end.

    Attributes:
        task: The task.
        value: The value.
        node: Id of the node on which it runs.
    """

    task: Task
    value: Any
    node: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """End of a task: its result, or the reason why there is none.

    Attributes:
        task: The task.
        value: Its result.
        error: The exception that it raised.
        death: Reason why its process died, where that may be the task's own fault.
        lost: Reason why it was lost without any fault of its own, such as with its node.
        unschedulable: Reason why the node that it must run on, and that lives, does not take it.
        node: Id of the node on which it returned, was lost or was to run; empty if not known.
    """

    task: Task
    value: Any = None
    error: Exception | None = None
    death: str | None = None
    lost: str | None = None
    unschedulable: str | None = None
    node: str = ""

    def result(self) -> Any:
        """Its result.

        Raises:
            Exception: The exception that the task raised.
            RunError: If its process died or was lost, or it cannot be started.
        """
        if self.error is not None:
            raise self.error
        reason = self.death or self.lost or self.unschedulable
        if reason is not None:
            raise RunError(reason)
        return self.value


class Shared(Protocol):
    """A value that each process of a runner receives once, however many of its tasks take it."""

    def get(self) -> Any:
        """The value."""


class TaskRunner(Protocol):
    """Runs functions as tasks; it can be passed to a task, which then submits tasks of its own.

    Attributes:
        distributed: Whether tasks run on Ray, so that its libraries (Tune, Train) can be used too.
        resources: Resources at its start.
    """

    distributed: bool
    resources: Resources

    def submit(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        needs: Needs = Needs(),
        retries: int = 4,
        name: str = "",
    ) -> Task:
        """Submits a call; values that a generator function yields are updates, and its return value is the result.

        Args:
            function: A function of a module.
            arguments: Its arguments.
            needs: Its resources.
            retries: How often it is restarted if its process dies; it is not if it raises.
            name: Name in Ray's own lists of tasks, and in the line that says that it was lost and starts again.
        """

    def wait(self, tasks: Collection[Task], seconds: float | None = None) -> list[Update | Ended]:
        """Waits for the next updates or ends of these tasks, for so many seconds at most.

        Raises:
            RunError: If nothing can be started any more.
        """

    def cancel(self, task: Task) -> None:
        """Ends a task by force."""

    def share(self, value: Any) -> Shared:
        """Shares a value with all processes."""

    def nodes(self) -> dict[str, dict[str, float]]:
        """Resources of the nodes that are alive, by their id."""

    def free(self) -> str:
        """Free resources, in words."""

    def progress(self) -> ProgressUpdates:
        """Starts a channel through which tasks report their progress."""


def results(runner: TaskRunner, tasks: Mapping[Key, Task]) -> Iterator[tuple[Key, Any]]:
    """Yields the keys and results of tasks in the order in which they end.

    Raises:
        Exception: The exception of the first task that failed.
        RunError: If a task's process died or was lost for good.
    """
    pending = {task: key for key, task in tasks.items()}
    while pending:
        for event in runner.wait(pending):
            if isinstance(event, Ended):
                yield pending.pop(event.task), event.result()


def result_of(runner: TaskRunner, task: Task) -> Any:
    """Waits for one task; see :func:`results`."""
    return next(results(runner, {"": task}))[1]


def run_for_all(
    runner: TaskRunner,
    function: Callable[..., Any],
    jobs: Mapping[str, Any],
    done: Callable[[str, Any], None],
    failed: Callable[[str, str], None],
    needs: Needs = DRIVER,
    name: str = "",
) -> None:
    """Submits ``function(job, runner)`` for the jobs of all domains at once, and waits for their results.

    Args:
        runner: Task runner for the drivers.
        function: The driver of one domain.
        jobs: A job for each domain.
        done: Called with a domain and its result as soon as its driver ends.
        failed: Called with a domain and the reason if its driver, or ``done``, fails; the others go on.
        needs: Resources of each driver.
        name: Name of the work, before the domain's in the name of its task.
    """
    pending = {
        runner.submit(function, job, runner, needs=needs, name=f"{name} {domain}".strip()): domain
        for domain, job in jobs.items()
    }
    while pending:
        for event in runner.wait(pending):
            if not isinstance(event, Ended):
                continue
            domain = pending.pop(event.task)
            try:
                done(domain, event.result())
            except Exception as error:
                log.info("%s of %s failed", getattr(function, "__name__", function), domain, exc_info=error)
                failed(domain, reason_of(error))


class InProcessRunner:
    """Runs tasks in this process, one after another, in the order in which they are waited for.

    Args:
        resources: Resources that it claims to have.
    """

    distributed = False

    def __init__(self, resources: Resources) -> None:
        self.resources = resources

    def submit(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        needs: Needs = Needs(),
        retries: int = 4,
        name: str = "",
    ) -> Task:
        """Stores a call; it runs when it is waited for."""
        del needs, retries, name
        return _LocalTask(steps_of(function, arguments))

    def wait(self, tasks: Collection[Task], seconds: float | None = None) -> list[Update | Ended]:
        """Runs the first of the tasks until its next update or its end."""
        del seconds
        for task in tasks:
            assert isinstance(task, _LocalTask)
            return [task.step()]
        return []

    def cancel(self, task: Task) -> None:
        """Closes a task that has begun."""
        assert isinstance(task, _LocalTask)
        task.steps.close()

    def share(self, value: Any) -> Shared:
        """Keeps the value as it is: all tasks run in this process."""
        return _Here(value)

    def nodes(self) -> dict[str, dict[str, float]]:
        """This process as the only node."""
        return {HERE: {"CPU": self.resources.cpus, "GPU": self.resources.gpus}}

    def free(self) -> str:
        """All resources: nothing runs between two tasks."""
        return f"{self.resources.cpus:g} of {self.resources.cpus:g} CPUs are free"

    def progress(self) -> ProgressUpdates:
        """The latest updates, in memory."""
        return LocalUpdates()


@contextmanager
def in_process(cluster: Cluster, show: Callable[[str], None] | None = None) -> Iterator[TaskRunner]:
    """Replacement of :func:`orchestrator.runtime.on_ray.ray_session.connect` that runs everything in this process."""
    del show
    yield InProcessRunner(Resources(float(cluster.cpus or 2), 0.0, 0.0))


@dataclass(frozen=True, slots=True)
class _Here:
    value: Any

    def get(self) -> Any:
        return self.value


@dataclass(eq=False, slots=True)
class _LocalTask:
    steps: Generator[Any, None, Any]

    def step(self) -> Update | Ended:
        try:
            return Update(self, next(self.steps), HERE)
        except StopIteration as end:
            return Ended(self, end.value, node=HERE)
        except Exception as error:
            return Ended(self, error=error)


def steps_of(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Generator[Any, None, Any]:
    """A call as a generator of its updates, which returns its result."""
    if inspect.isgeneratorfunction(function):
        return (yield from function(*arguments))
    return function(*arguments)
