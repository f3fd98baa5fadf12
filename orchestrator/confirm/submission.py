"""A confirmation's tasks, submitted and collected."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchestrator.confirm.job import ConfirmJob
from orchestrator.confirm.tasks import Start, train_run
from orchestrator.runtime.progress_updates import reporter
from orchestrator.runtime.task_runner import Needs, Task, TaskRunner, result_of, results
from trainables.loops.settings import TransferConfiguration

log = logging.getLogger(__name__)

Runs = dict[str, tuple[TransferConfiguration, Start]]
RunKey = tuple[str, int]
"""A run's name and seed."""


def task_name(work: str, function: Callable[..., Any], arguments: Sequence[Any]) -> str:
    """Name of a task for people: that of the work, the function's, and arguments that are names or numbers."""
    words = [function.__name__.replace("_", " "), *(str(value) for value in arguments if isinstance(value, str | int))]
    return f"{work}: {' '.join(words)}"


class Tasks:
    """Submits a confirmation's tasks, each with the CPUs and GPUs of a run."""

    def __init__(self, job: ConfirmJob, runner: TaskRunner) -> None:
        self._job, self._runner, self._needs = job, runner, Needs(job.cpus, job.gpus)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Task:
        """Submits a function of the job."""
        name = task_name(f"{self._job.stage} {self._job.domain.domain}", function, arguments)
        return self._runner.submit(function, self._job, *arguments, needs=self._needs, name=name)

    def training(self, runs: Runs, seeds: Sequence[int]) -> dict[Any, Task]:
        """Submits every run with every seed."""
        return {
            (name, seed): self.submit(train_run, name, configuration, seed, start)
            for seed in seeds
            for name, (configuration, start) in runs.items()
        }

    def collect(self, tasks: Mapping[Any, Task], phase: str) -> dict[Any, Any]:
        """Waits for all tasks, reporting how many have ended; returns their results by key."""
        report = reporter(self._job.progress, f"confirm {self._job.domain.domain}")
        log.info("%s: %d tasks", phase, len(tasks))
        report(0, len(tasks), phase)
        found: dict[Any, Any] = {}
        for key, value in results(self._runner, tasks):
            found[key] = value
            report(len(found), len(tasks), phase)
        return found

    def result(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Submits a function of the job and waits for it."""
        return result_of(self._runner, self.submit(function, *arguments))
