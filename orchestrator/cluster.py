"""One way to connect: a Ray of our own, or a cluster's address."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
import torch

from orchestrator.experiment import Cluster, Experiment
from orchestrator.experiment_images import SourceModel
from orchestrator.stop_signals import handlers_kept
from trainables.errors import RunError, UsageError

_QUIET = {
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    # Our own records are the log; Tune's CSV and TensorBoard files would be a second, slower one.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Else SIGTERM prints C++ frames and aborts, instead of ending as Ctrl-C does.
    "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",
}
_ALONE = {
    # On a Ray of our own no node is about to be taken away, and nobody reads metrics or the history of tasks; all of
    # them take time from training.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_event_stats": "0",
    "RAY_task_events_report_interval_ms": "0",
}
_FORWARDED = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION")


@dataclass(frozen=True, slots=True)
class Resources:
    """What a cluster offers.

    Attributes:
        cpus: All CPUs.
        gpus: All GPUs.
        gpus_of_a_node: GPUs of its best node.
    """

    cpus: float
    gpus: float
    gpus_of_a_node: float


def local_resources(cluster: Cluster) -> Resources:
    """What a Ray of our own will have on this machine, without starting it."""
    gpus = torch.cuda.device_count()
    return Resources(cluster.cpus or len(os.sched_getaffinity(0)), gpus, gpus)


@contextmanager
def connect(cluster: Cluster) -> Iterator[Resources]:
    """Starts or joins Ray and leaves it at the end.

    Raises:
        RunError: If no cluster answers at the address.
    """
    for name, value in (_QUIET | (_ALONE if cluster.address is None else {})).items():
        os.environ.setdefault(name, value)
    joined = ray.is_initialized()
    session = None if joined else _start(cluster)
    try:
        yield _measured(cluster)
    finally:
        if not joined:
            ray.shutdown()
    # The logs of a run that ended well; where one failed, they may say why.
    if session is not None and cluster.address is None:
        shutil.rmtree(session, ignore_errors=True)


def check_resources(experiment: Experiment, resources: Resources) -> None:
    """Refuses what the cluster can never run; Ray itself would wait for ever.

    Raises:
        UsageError: If a trial or the pretraining needs more than there is.
    """
    search, pretraining = experiment.search, experiment.pretraining
    if search.gpus_per_trial > resources.gpus_of_a_node:
        raise UsageError(
            f"search.gpus_per_trial is {search.gpus_per_trial:g}, but the best node of this cluster has "
            f"{resources.gpus_of_a_node:g} GPUs; lower it or use another cluster."
        )
    if search.cpus_per_trial > resources.cpus:
        raise UsageError(
            f"search.cpus_per_trial is {search.cpus_per_trial:g}, but this cluster has {resources.cpus:g} CPUs."
        )
    gpus = pretraining.workers * pretraining.gpus_per_worker
    if gpus > resources.gpus and not isinstance(experiment.source, SourceModel):
        raise UsageError(
            f"Pretraining asks for {pretraining.workers} workers × {pretraining.gpus_per_worker:g} GPUs, but this "
            f"cluster has {resources.gpus:g}; lower pretraining.workers or pretraining.gpus_per_worker."
        )


def free_resources() -> str:
    """What of the cluster is free at the moment, in words."""
    total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    kinds = ["CPU", "GPU"] if total.get("GPU") else ["CPU"]
    return " and ".join(f"{free.get(kind, 0):g} of {total.get(kind, 0):g} {kind}s are free" for kind in kinds)


def drive_all(stage: str, drive: Any, jobs: Mapping[str, Any], done: Callable[[str, Any], None]) -> None:
    """Runs one driver task per domain, all at once, and calls ``done`` with a domain's result as soon as it is there.

    Args:
        stage: What a failure is said of.
        drive: A remote function of one job.
        jobs: A job for each domain.
        done: Called with the domain and what its driver returned.

    Raises:
        RunError: If a driver failed; the others are finished first.
    """
    pending = {drive.remote(job): domain for domain, job in jobs.items()}
    failures = []
    while pending:
        ready, _ = ray.wait(list(pending), num_returns=1)
        domain = pending.pop(ready[0])
        try:
            done(domain, ray.get(ready[0]))
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None) or error
            failures.append(f"{domain}: {str(cause).strip().splitlines()[-1]}")
    if failures:
        raise RunError(f"{stage} failed for {'; '.join(failures)}. What had finished is kept.")


def _start(cluster: Cluster) -> str | None:
    """Starts or joins Ray; gives its folder of logs and sockets on this machine."""
    environment = {name: os.environ[name] for name in _FORWARDED if name in os.environ} | _QUIET
    # Drivers and helpers of several stages at once are no leak; Ray warns about them from four times this number.
    os.environ.setdefault("RAY_worker_maximum_startup_concurrency", str(max(4, cluster.cpus or os.cpu_count() or 1)))
    try:
        with handlers_kept():
            context = _init(cluster, environment)
    except Exception as error:  # Ray raises this very class when a node does not come up in time
        reason = str(error).split("\n")[0]
        raise RunError(f"Ray could not be reached at '{cluster.address or 'local'}': {reason}") from None
    return getattr(context, "address_info", {}).get("session_dir")


def _init(cluster: Cluster, environment: dict[str, str]) -> Any:
    if cluster.address is not None:
        return ray.init(
            address=cluster.address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": environment},
        )
    return ray.init(
        address="local",
        num_cpus=cluster.cpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=400 * 2**20,
        runtime_env={"env_vars": environment},
    )


def _measured(cluster: Cluster) -> Resources:
    total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    of_nodes = [node["Resources"].get("GPU", 0.0) for node in _nodes() if node["Alive"]]
    if cluster.gpus is not None:
        return Resources(max(total.get("CPU", 0.0), 1.0), cluster.gpus, max([*of_nodes, float(cluster.gpus)]))
    return Resources(total.get("CPU", 0.0), total.get("GPU", 0.0), max(of_nodes, default=0.0))


def _nodes() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return nodes
