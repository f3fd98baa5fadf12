"""An archive on a cluster, as others see it: gauges for Prometheus, and lines about nodes that are lost or join."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from orchestrator.archive.batch.archive_progress import Progress
from orchestrator.runtime.node_watch import watching_nodes
from orchestrator.runtime.task_runner import TaskRunner


@contextmanager
def watching_cluster(
    runner: TaskRunner, output: str, shared: bool, log: Callable[[str], None]
) -> Iterator[Callable[[Progress], None]]:
    """Watches until the block ends; yields what sets the gauges from the progress.

    Args:
        runner: What runs the tasks; one that does not run on Ray has no gauges.
        output: Place of the outputs.
        shared: Whether it is a cluster that others started, whose nodes may come and go.
        log: Logs one line; called from another thread.
    """
    if not runner.distributed:
        yield lambda _: None
        return
    from orchestrator.runtime.on_ray.ray_gauges import ArchiveGauges  # which needs Ray

    gauges = ArchiveGauges(output)

    def show(progress: Progress) -> None:
        left, failed = progress.scenes - progress.done, sum(progress.failed.values())
        gauges.set(progress.megapixels, progress.seconds, left, failed)

    with watching_nodes(runner.nodes, log) if shared else nullcontext():
        yield show
