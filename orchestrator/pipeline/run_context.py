"""State shared by the stages of a run: progress, failed domains, and Ray, which starts when a stage first needs it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import cached_property, partial
from types import MappingProxyType

from orchestrator.experiment.feasibility import check_resources
from orchestrator.experiment.settings import Cluster, Experiment
from orchestrator.jobs.stage_jobs import SOURCE
from orchestrator.pipeline.domain_failures import DomainFailures
from orchestrator.runtime.node_check import check_nodes
from orchestrator.runtime.node_watch import watching_nodes
from orchestrator.runtime.on_ray.ray_gauges import RayGauges
from orchestrator.runtime.on_ray.ray_session import connect
from orchestrator.runtime.progress import Display
from orchestrator.runtime.progress_updates import ProgressUpdates
from orchestrator.runtime.task_runner import TaskRunner
from orchestrator.tracking.follow import Follower, following

Connect = Callable[[Cluster], AbstractContextManager[TaskRunner]]


class RunContext:
    """One run of an experiment.

    Args:
        experiment: The experiment.
        domains: The targets that are run.
        display: Display of lines and progress.
        stack: Closed when the run ends.
        start: Starts a task runner; Ray by default.
        trackers: Takers of all that the run measures, by name.

    Attributes:
        failures: Domains that have failed.
        log: Logs one line.
    """

    def __init__(
        self,
        experiment: Experiment,
        domains: tuple[str, ...],
        display: Display,
        stack: ExitStack,
        start: Connect | None = None,
        trackers: Mapping[str, Follower] = MappingProxyType({}),
    ) -> None:
        self._trackers = dict(trackers)
        self.experiment, self.domains, self.log = experiment, domains, display.log
        self.failures = DomainFailures(domains, display.log)
        self._display, self._stack, self._start = display, stack, start or partial(connect, show=display.log)

    def connect(self) -> None:
        """Starts or joins Ray now, and checks that its resources suffice."""
        _ = self.runner  # not by an assertion, which Python leaves out under -O

    def skip(self, task: str, why: str) -> None:
        """Logs that a task of the current stage has nothing to do."""
        self._display.skip(task)
        self.log(f"{task}: {why}, skipped")

    @contextmanager
    def working_on(self, name: str, stage: str) -> Iterator[None]:
        """Shows the image set that a stage works on; a failed target is left out, a failed source ends the run."""
        leaving: AbstractContextManager[None] = (
            nullcontext() if name == SOURCE else self.failures.leaving_behind(name, stage)
        )
        with self._display.doing(f"{stage} {name}"), leaving:
            yield

    @cached_property
    def runner(self) -> TaskRunner:
        """Task runner of all stages; starts or joins Ray at its first use, and checks that its nodes can work."""
        experiment = self.experiment
        runner = self._stack.enter_context(self._start(experiment.cluster))
        check_resources(experiment, runner.resources)
        joined = experiment.cluster.address is not None
        if joined and runner.distributed:
            gpus = experiment.pretraining.gpus_per_worker > 0 or experiment.search.gpus_per_trial > 0
            check_nodes(runner, experiment.home, gpus)
        self._display.free = runner.free
        if joined:
            self._stack.enter_context(watching_nodes(runner.nodes, self.log))
        return runner

    @cached_property
    def progress(self) -> ProgressUpdates:
        """Channel through which tasks report progress to the display."""
        progress = self.runner.progress()
        self._stack.enter_context(self._display.watching(progress))
        gauges = {"gauges": RayGauges(self.experiment.name)} if self.runner.distributed else {}
        self._stack.enter_context(following(progress, {**self._trackers, **gauges}, self.log))
        return progress
