"""A whole experiment, stage by stage: shards → source model → analysis → search → confirmation → finish → report."""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack

from orchestrator.experiment.settings import FORMAT, Experiment
from orchestrator.foundation.buckets.s3 import end_uploads
from orchestrator.foundation.logs import log_context
from orchestrator.foundation.stage_record import now
from orchestrator.pipeline.preflight import Inputs, needs_ray
from orchestrator.pipeline.run_context import Connect, RunContext
from orchestrator.pipeline.stages.all_stages import stages_of
from orchestrator.runtime.progress import Display
from orchestrator.runtime.run_lock import RunLock, locked
from orchestrator.tracking.follow import open_trackers
from trainables.version import __version__

log = logging.getLogger(__name__)


def only_run_of(experiment: Experiment) -> AbstractContextManager[RunLock]:
    """The lock that one run of an experiment holds; see :func:`~orchestrator.runtime.run_lock.locked`."""
    return locked(experiment.home, f"Experiment '{experiment.name}' in '{experiment.storage}'")


def run_experiment(
    experiment: Experiment,
    inputs: Inputs,
    display: Display,
    until: str = "report",
    domains: Sequence[str] | None = None,
    check: Callable[[], None] = lambda: None,
    start: Connect | None = None,
) -> None:
    """Runs every stage that has not finished, and logs which stages it skips.

    Args:
        experiment: The experiment.
        inputs: The result of :func:`preflight`.
        display: Display of lines and progress.
        until: Name of the last stage.
        domains: The targets that are searched; all by default. The report covers all.
        check: Called before each stage; raises if the run must not go on.
        start: Starts a task runner, such as :func:`~orchestrator.runtime.task_runner.in_process`; Ray by default.

    Raises:
        PartlyDoneError: If some domains failed; the others are finished and, if the run ends with it, reported.
        RunError: If a stage fails for all domains; finished work is kept.
        UsageError: If a tracker cannot be used.
    """
    trackers = open_trackers(experiment)
    if experiment.home.remote:
        end_uploads(experiment.home.uri)
    experiment.home.child("experiment.json").write_json(
        {"format": FORMAT, "rayscale": __version__, "written_at": now(), "settings": experiment.dump()}
    )
    for line in inputs.not_used:
        display.log(line)
    stages = stages_of(experiment, inputs.files, with_tests=until in ("confirm", "finish", "report")).until(until)
    with ExitStack() as stack:
        chosen = tuple(experiment.targets if domains is None else domains)
        run = RunContext(experiment, chosen, display, stack, start, trackers)
        if len(stages) > 1 and experiment.cluster.address is not None and needs_ray(experiment, inputs):
            run.connect()  # fails before the first expensive stage if the cluster is too small
        for stage in stages:
            run.failures.check_some_left()
            check()
            with log_context(stage=stage.name), display.doing(stage.name, stage.requests(run.failures.going)):
                log.info("begins for %s", ", ".join(stage.names(run.failures.going)) or "nothing")
                stage.run(run)
        run.failures.check_none(reported=until == "report")
