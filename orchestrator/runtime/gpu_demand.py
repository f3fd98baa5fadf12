"""Demand for GPUs that an autoscaler sees: tasks that wait for GPUs which the cluster does not have yet."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.runtime.task_runner import Ended, Needs, Task, TaskRunner

LOOK_AGAIN_SECONDS = 2.0
"""Seconds between two looks at the cluster's GPUs."""


@dataclass(frozen=True, slots=True)
class Joined:
    """GPUs of the cluster.

    Attributes:
        gpus: GPUs of the nodes that are alive.
        wanted: GPUs that are asked for.
    """

    gpus: int
    wanted: int

    @property
    def missing(self) -> int:
        """GPUs that are asked for and not there."""
        return max(self.wanted - self.gpus, 0)

    def __str__(self) -> str:
        have = f"This cluster has {self.gpus} GPU{'' if self.gpus == 1 else 's'}"
        verb = "is" if self.missing == 1 else "are"
        return f"{have}; {self.missing} more {verb} asked for." if self.missing else f"{have}."


class GpuDemand:
    """Keeps one task waiting for each GPU that is missing.

    Ray's autoscaler adds nodes for waiting tasks. They end with this process, however it ends; a request by
    ``ray.autoscaler.sdk.request_resources`` would stay, and its nodes with it, after the driver was killed, and would
    replace that of another driver. A task that finds a GPU, a new one or one that is free for a moment, ends at once.

    Args:
        runner: Runs the tasks.
        gpus: GPUs that the cluster should have.
        cpus: CPUs beside each of them.
    """

    def __init__(self, runner: TaskRunner, gpus: int, cpus: float = 1.0) -> None:
        self._runner, self._gpus = runner, gpus
        self._needs = Needs(cpus, 1.0)
        self._waiting: set[Task] = set()
        self._looked, self._joined = float("-inf"), Joined(0, gpus)

    def ask(self, most: int) -> Joined:
        """Asks for the GPUs that are missing, but for at most ``most`` in all; returns how many there are.

        It looks every two seconds and is cheap in between.
        """
        if time.monotonic() - self._looked >= LOOK_AGAIN_SECONDS:
            self._looked = time.monotonic()
            wanted = min(self._gpus, most)
            self._joined = Joined(gpus_of(self._runner.nodes()), wanted)
            self._keep_waiting(self._joined.missing)
        return self._joined

    def close(self) -> None:
        """Withdraws the demand."""
        self._keep_waiting(0)

    def _keep_waiting(self, count: int) -> None:
        for event in self._runner.wait(self._waiting, 0.0) if self._waiting else ():
            if isinstance(event, Ended):
                self._waiting.discard(event.task)
        while len(self._waiting) > count:
            self._runner.cancel(self._waiting.pop())
        while len(self._waiting) < count:
            self._waiting.add(self._runner.submit(_joined, needs=self._needs, retries=0, name="wait for a GPU"))


def gpus_of(nodes: Mapping[str, Mapping[str, float]]) -> int:
    """Whole GPUs of all nodes together."""
    return sum(int(node.get("GPU", 0)) for node in nodes.values())


def _joined() -> None:
    """Ends as soon as there is a GPU for it."""
