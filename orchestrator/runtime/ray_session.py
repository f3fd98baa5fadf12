"""Connection to Ray: starts a Ray of our own on this machine, or joins a cluster at its address."""

import logging
import os
import site
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import ray
import torch

from orchestrator.experiment.feasibility import Resources
from orchestrator.experiment.settings import Cluster
from orchestrator.foundation import logs
from orchestrator.foundation.s3 import first_line
from orchestrator.foundation.usable_cpus import usable_cpus
from orchestrator.runtime.own_ray import kept_private, make_folder, remove_folder, without_user
from orchestrator.runtime.ray_runner import RayRunner, alive_nodes
from orchestrator.runtime.stop_signals import handlers_kept
from orchestrator.runtime.task_runner import TaskRunner
from trainables.errors import RunError

_QUIET = {
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    # Our own records are the log; Tune's CSV and TensorBoard files would only cost time.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Without it, SIGTERM prints C++ frames and aborts, instead of ending as Ctrl-C does.
    "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",
}
_ALONE = {
    # On a Ray of our own no node can be preempted, and nobody reads metrics or the history of tasks; all of them take
    # time from training.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_event_stats": "0",
    "RAY_task_events_report_interval_ms": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
_FORWARDED = (logs.FILE, logs.VERBOSE, "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION")


def local_resources(cluster: Cluster) -> Resources:
    """Resources that a Ray of our own will have on this machine, without starting it."""
    gpus = torch.cuda.device_count()
    return Resources(cluster.cpus or usable_cpus(), gpus, gpus)


@contextmanager
def connect(cluster: Cluster) -> Iterator[TaskRunner]:
    """Starts or joins Ray, yields a task runner, and disconnects at the end.

    Raises:
        RunError: If no cluster answers at the address.
    """
    for name, value in (_QUIET | (_ALONE if cluster.address is None else {})).items():
        os.environ.setdefault(name, value)
    joined = ray.is_initialized()
    own = not joined and cluster.address is None
    with kept_private() if own else nullcontext():
        session = None if joined else _start(cluster)
        try:
            yield RayRunner(_measured(cluster))
        finally:
            if not joined:
                ray.shutdown()
    # Only after a run that ended well: of a failed one, Ray's logs may tell the reason.
    if session is not None and own:
        remove_folder(Path(session))


@contextmanager
def loss_explained() -> Iterator[None]:
    """Turns Ray's errors into one that tells the user how to go on.

    Raises:
        RunError: If Ray was lost.
    """
    try:
        yield
    except ray.exceptions.RayError as error:
        raise RunError(
            f"Ray was lost ({first_line(error)}); what had finished is kept, and the same command goes on."
        ) from None


def _start(cluster: Cluster) -> str | None:
    """Starts or joins Ray; returns its folder of logs and sockets on this machine."""
    environment = {name: without_user(os.environ[name]) for name in _FORWARDED if name in os.environ} | _QUIET
    # Ray warns of a leak of processes from four times this number; drivers of several domains are none.
    os.environ.setdefault("RAY_worker_maximum_startup_concurrency", str(max(4, cluster.cpus or usable_cpus())))
    try:
        with handlers_kept():
            context = _init(cluster, environment)
    except Exception as error:  # Ray raises a plain Exception when a node does not come up in time
        reason = str(error).split("\n")[0]
        raise RunError(f"Ray could not be reached at '{cluster.address or 'local'}': {reason}") from None
    return getattr(context, "address_info", {}).get("session_dir")


def _init(cluster: Cluster, environment: dict[str, str]) -> Any:
    with _away_from_working_folder():
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
            _temp_dir=str(make_folder()),
            runtime_env={"env_vars": environment},
        )


@contextmanager
def _away_from_working_folder() -> Iterator[None]:
    """Changes to this package's folder while Ray starts, because Ray puts the working folder first on workers' path.

    There, a user's own ``statistics.py`` or ``trainables.py`` would be imported instead of the modules that workers
    need. An installed package lies beside all others, which must not come before Python's own modules; the folder is
    then that of the environment, which holds no modules.
    """
    package = Path(__file__).resolve().parents[2]
    installed = {Path(folder).resolve() for folder in (*sysconfig.get_paths().values(), *site.getsitepackages())}
    try:
        before = Path.cwd()
    except FileNotFoundError:  # somebody has removed it
        before = package
    os.environ.update(_absolute_path_of_modules(before))
    os.chdir(sys.prefix if package in installed else package)
    try:
        yield
    finally:
        os.chdir(before)


def _absolute_path_of_modules(folder: Path) -> dict[str, str]:
    """PYTHONPATH with absolute folders, since workers start in another one."""
    path = os.environ.get("PYTHONPATH", "")
    if not path:
        return {}
    return {"PYTHONPATH": os.pathsep.join(str(folder / part) for part in path.split(os.pathsep) if part)}


def _measured(cluster: Cluster) -> Resources:
    nodes = tuple((node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in alive_nodes().values())
    cpus, gpus = sum(node[0] for node in nodes), sum(node[1] for node in nodes)
    best = max((node[1] for node in nodes), default=0.0)
    if cluster.gpus is not None:
        return Resources(max(cpus, 1.0), max(cluster.gpus, gpus), max(best, cluster.gpus), nodes, grows=True)
    return Resources(cpus, gpus, best, () if cluster.address is None else nodes)
