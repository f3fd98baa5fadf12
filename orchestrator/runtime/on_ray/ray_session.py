"""Connection to Ray: starts a Ray of our own on this machine, or joins a cluster at its address."""

import logging
import os
import site
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import ray

from orchestrator.experiment.feasibility import Resources
from orchestrator.experiment.settings import Cluster
from orchestrator.foundation import logs
from orchestrator.foundation.buckets import s3_settings
from orchestrator.foundation.buckets.s3 import first_line
from orchestrator.foundation.usable_cpus import usable_cpus
from orchestrator.runtime.on_ray.own_ray import kept_private, make_folder, remove_folder, without_user
from orchestrator.runtime.on_ray.ray_join import (
    chosen_address,
    job_variables,
    joined_line,
    outside_of_job,
    sentence_of_failure,
    standard_error_held,
)
from orchestrator.runtime.on_ray.ray_lines import ray_lines_logged
from orchestrator.runtime.on_ray.ray_runner import RayRunner
from orchestrator.runtime.on_ray.ray_start import PATIENCE, patience, patient_start, started_again
from orchestrator.runtime.stop_signals import handlers_kept
from orchestrator.runtime.task_runner import TaskRunner
from trainables.errors import RunError, UsageError

log = logging.getLogger(__name__)

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
_FORWARDED = (logs.FILE, logs.VERBOSE)


def print_line(line: str) -> None:
    """Prints a line to standard error."""
    with suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)


@contextmanager
def connect(cluster: Cluster, show: Callable[[str], None] = print_line) -> Iterator[TaskRunner]:
    """Starts or joins Ray, yields a task runner, and disconnects at the end.

    Args:
        cluster: Settings of the cluster.
        show: Called with lines about it: which cluster was joined, or that the start takes long.

    Raises:
        UsageError: If it is not clear which cluster is meant.
        RunError: If no cluster answers at the address, or Ray does not start.
    """
    for name, value in (_QUIET | (_ALONE if cluster.address is None else {})).items():
        os.environ.setdefault(name, value)
    joined = ray.is_initialized()
    own = not joined and cluster.address is None
    with kept_private() if own else nullcontext(), ray_lines_logged():
        session = None if joined else _start(cluster, show)
        try:
            yield RayRunner(_measured(cluster), cluster.placement)
        finally:
            if not joined:
                ray.shutdown()
    # Only after a run that ended well: of a failed one, Ray's logs may show the reason.
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


def _start(cluster: Cluster, show: Callable[[str], None]) -> str | None:
    """Starts or joins Ray; returns its folder of logs and sockets on this machine."""
    # Ray warns of a leak of processes from four times this number; drivers of several domains are none.
    os.environ.setdefault("RAY_worker_maximum_startup_concurrency", str(max(4, cluster.cpus or usable_cpus())))
    with handlers_kept(), _away_from_working_folder():
        context = _start_own(cluster, show) if cluster.address is None else _join(cluster.address, show)
    return getattr(context, "address_info", {}).get("session_dir")


def _start_own(cluster: Cluster, show: Callable[[str], None]) -> Any:
    if address := os.environ.get("RAY_ADDRESS"):
        show(
            f"RAY_ADDRESS is {address}, but cluster.address is not set: this run starts a Ray of its own on this "
            "machine. Set cluster.address=auto to use that cluster."
        )
    try:
        with outside_of_job(), patient_start(show):
            return started_again(partial(_start_once, cluster), show)
    except UsageError:
        raise
    except Exception as error:  # Ray raises a plain Exception when a node does not come up in time
        reason = " ".join(str(error).split()).rstrip(".")
        raise RunError(
            f"Ray did not start on this machine: {reason}. Where it was only slow, run the same command again when the "
            f"machine is less busy, or let it wait longer than {patience()} s by {PATIENCE}."
        ) from None


def _start_once(cluster: Cluster) -> Any:
    return ray.init(
        address="local",
        num_cpus=cluster.cpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=400 * 2**20,
        _temp_dir=str(make_folder()),
        runtime_env={"env_vars": _variables()},
    )


def _join(address: str, show: Callable[[str], None]) -> Any:
    meant, note = chosen_address(address)
    variables = _variables() | s3_settings.for_workers()
    given = job_variables()  # the values of a submitted job hold already, here and for its workers
    variables = {name: without_user(value) for name, value in variables.items() if name not in given}
    printed: list[str] = []
    try:
        with standard_error_held() as printed:
            context = ray.init(
                address=meant,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": variables},
            )
    except Exception as error:
        log.info("could not join %s: %s", meant, error, exc_info=error)
        raise RunError(sentence_of_failure(meant, error, " ".join(printed))) from None
    show(joined_line(context, note))
    return context


def _variables() -> dict[str, str]:
    """Environment variables for workers."""
    return {name: os.environ[name] for name in _FORWARDED if name in os.environ} | _QUIET


@contextmanager
def _away_from_working_folder() -> Iterator[None]:
    """Changes to this package's folder while Ray starts, because Ray puts the working folder first on workers' path.

    There, a user's own ``statistics.py`` or ``trainables.py`` would be imported instead of the modules that workers
    need. An installed package lies beside all others, which must not come before Python's own modules; the folder is
    then that of the environment, which holds no modules.
    """
    package = Path(__file__).resolve().parents[3]
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
    nodes = _usable_nodes(cluster)
    cpus, gpus = sum(node[0] for node in nodes), sum(node[1] for node in nodes)
    best = max((node[1] for node in nodes), default=0.0)
    if cluster.gpus is not None:
        return Resources(max(cpus, 1.0), max(cluster.gpus, gpus), max(best, cluster.gpus), nodes, grows=True)
    return Resources(cpus, gpus, best, () if cluster.address is None else nodes)


def _usable_nodes(cluster: Cluster) -> tuple[tuple[float, float], ...]:
    """CPUs and GPUs that the experiment can use, node by node.

    Raises:
        UsageError: If no node is of the kind that the experiment asks for, and none will be added.
    """
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    alive = [(node["Resources"], node.get("Labels") or {}) for node in nodes if node["Alive"]]
    placement = cluster.placement
    usable = [placement.usable(resources, labels) for resources, labels in alive]
    found = tuple(amounts for amounts in usable if amounts is not None)
    lacks_type = placement.accelerator_type and not any(gpus for _, gpus in found)
    if cluster.gpus is None and str(placement) and (not found or lacks_type):
        raise UsageError(
            f"No node of this cluster has the {placement} (cluster.accelerator_type, cluster.labels); "
            f"{placement.offered(alive)}. Correct the setting, or set cluster.gpus to the GPUs that the cluster can "
            "grow to."
        )
    return found
