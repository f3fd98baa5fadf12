"""Choice of the processes that work on an archive: this one for a few small scenes, Ray's for all others."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from orchestrator.archive.batch.options import Options
from orchestrator.archive.batch.plan import SUSPECT, Plan
from orchestrator.archive.batch.scene_pool import guessed_samples
from orchestrator.archive.batch.worker import samples_of
from orchestrator.archive.ledger.ledger import SceneHistory
from orchestrator.archive.places.listing import Scene
from orchestrator.experiment.settings import Cluster
from orchestrator.runtime.task_runner import TaskRunner
from orchestrator.runtime.this_machine import ray_is_started

_FEW = 16
SMALL = 3 * 2**22
"""Samples (LR pixels times bands) of all scenes together, which take about as long as Ray takes to start."""

PER_THREAD = 2**20
"""Samples from which on another thread pays; on a busy machine, threads that wait for each other cost much."""


def threads_here(
    plan: Plan, histories: Mapping[str, SceneHistory], options: Options, device: str, cpus: int
) -> int | None:
    """Threads of this process, if the work is so small that starting Ray takes longer than sharing it would save.

    None if anything needs Ray: a cluster, a GPU, a limit of time, or a scene that may have ended its process before.
    A Ray that runs already is used.

    Args:
        plan: Scenes to upscale.
        histories: Scene histories from former runs, by output.
        options: Options of the run.
        device: ``cpu`` or ``cuda``.
        cpus: CPUs to work on.
    """
    if options.address is not None or options.scene_timeout is not None or device != "cpu" or ray_is_started():
        return None
    if len(plan.work) > _FEW or any(planned.deaths for planned in plan.work):
        return None
    scenes = [planned.scene for planned in plan.work]
    if any(histories[scene.output].interrupted >= SUSPECT for scene in scenes if scene.output in histories):
        return None
    samples = sum(map(_samples, scenes))
    return None if samples > SMALL else min(cpus, 1 + samples // PER_THREAD)


def note_of(plan: Plan) -> str:
    """A line for the user on work that is done in this process."""
    count = len(plan.work)
    return f"{count} small {'scene' if count == 1 else 'scenes'}: upscaled in this process, without starting Ray."


@contextmanager
def on_ray(cluster: Cluster) -> Iterator[TaskRunner]:
    """Starts or joins Ray; its loss becomes an error that tells the user how to go on.

    Raises:
        UsageError: If it is not clear which cluster is meant.
        RunError: If Ray does not start, does not answer, or is lost.
    """
    from orchestrator.runtime.on_ray.ray_session import connect, loss_explained

    with loss_explained(), connect(cluster) as runner:
        yield runner


def _samples(scene: Scene) -> int:
    """Samples of a scene; what cannot be opened takes no time to fail."""
    with suppress(Exception):
        found = samples_of(scene)
        return guessed_samples(scene.size) if found is None else found
    return 0
