"""Machines of a run: a cluster that is joined at once, or this one, where Ray starts only if there is work for it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass

from orchestrator.archive.batch.archive_progress import Progress
from orchestrator.archive.batch.compute_nodes import ON_CPUS, choose_device
from orchestrator.archive.batch.options import Options
from orchestrator.archive.batch.place_of_work import on_ray
from orchestrator.archive.places.listing import Scene
from orchestrator.experiment.feasibility import Resources
from orchestrator.experiment.settings import Cluster
from orchestrator.foundation.storage import Storage
from orchestrator.runtime.gpu_demand import GpuDemand, gpus_of
from orchestrator.runtime.task_runner import InProcessRunner, TaskRunner
from orchestrator.runtime.this_machine import local_resources

Start = Callable[[Cluster], AbstractContextManager[TaskRunner]]
"""Starts or joins what runs tasks."""


@dataclass(slots=True)
class Machines:
    """Machines of a run.

    Attributes:
        cluster: Address, CPUs and GPUs by the options.
        joined: Runs tasks on a cluster that others started; None on this machine.
        resources: Resources of the cluster, or those that a Ray of our own has here.
        device: ``cpu`` or ``cuda``.
        demand: Asks the cluster for GPUs; None where none compute, or on this machine.
        notes: Sentences for the user.
        start: Starts what runs tasks.
    """

    cluster: Cluster
    joined: TaskRunner | None
    resources: Resources
    device: str
    demand: GpuDemand | None
    notes: list[str]
    start: Start

    @property
    def gpus(self) -> bool:
        """True if GPUs compute."""
        return self.device == "cuda"

    @property
    def slots(self) -> int:
        """Tasks that compute at once."""
        return max(int(self.resources.gpus if self.gpus else self.resources.cpus), 1)

    @property
    def waits_for_gpu(self) -> bool:
        """True while the cluster has none of the GPUs that are to compute."""
        return self.gpus and self.joined is not None and not gpus_of(self.joined.nodes())

    def ask_for_gpus(self, progress: Progress) -> None:
        """Asks for the GPUs that the cluster lacks and the scenes left can use; notes how many have joined."""
        if self.demand is not None:
            progress.joined = self.demand.ask(progress.scenes - progress.done)

    @contextmanager
    def started(self, threads: int | None) -> Iterator[TaskRunner]:
        """Runs tasks until the block ends, on the cluster or on this machine.

        Args:
            threads: Threads of this process if it does the work itself, one scene at a time; None for Ray.

        Raises:
            RunError: If Ray does not start.
        """
        if self.joined is not None:
            yield self.joined
        elif threads is not None:
            import torch  # only now: up to here, nothing is computed in this process

            before = torch.get_num_threads()
            try:
                yield InProcessRunner(Resources(threads, 0, 0))
            finally:
                torch.set_num_threads(before)
        else:
            with self.start(self.cluster) as runner:
                self.resources = runner.resources
                yield runner


@contextmanager
def machines_of(
    options: Options, scenes: list[Scene], out: Storage, threads: int, start: Start | None
) -> Iterator[Machines]:
    """Finds the machines of a run; a cluster is joined until the block ends, and its nodes are checked.

    Args:
        options: Options of the run.
        scenes: The archive, whose first scene every node must see.
        out: Place of the outputs, which every node must be able to write.
        threads: CPUs beside each GPU.
        start: Starts what runs tasks; None for Ray.

    Raises:
        UsageError: If the options contradict each other, or a node cannot work.
        RunError: If no cluster answers.
    """
    cluster, start = Cluster(address=options.address, cpus=options.cpus, gpus=options.gpus), start or on_ray
    demand: GpuDemand | None = None
    notes: list[str] = []
    with ExitStack() as held:
        joined = None if options.address is None else held.enter_context(start(cluster))
        if joined is not None and joined.distributed:
            from orchestrator.runtime.node_check import check_nodes  # which needs Ray

            # GPUs are looked at with the precision, by the nodes that compute.
            check_nodes(joined, out, reads=_readable(scenes))
        resources = local_resources(cluster) if joined is None else joined.resources
        device = choose_device(options, resources)
        if joined is not None and device == "cuda":
            demand = held.enter_context(closing(GpuDemand(joined, int(resources.gpus), threads)))
        elif joined is not None and options.device != "cpu":
            notes = [ON_CPUS]
        yield Machines(cluster, joined, resources, device, demand, notes, start)


def _readable(scenes: list[Scene]) -> list[str]:
    """Place of the first scene, which every node must see too; none if it cannot be read from here."""
    with suppress(OSError):
        return [
            scene.source for scene in scenes[:1] if scene.problem is None and Storage(scene.source).kind() == "file"
        ]
    return []
