"""Follows the measurements of a run and passes them on to its trackers and to Ray's metrics."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from orchestrator.experiment.settings import Experiment, Tracking
from orchestrator.runtime.measurements import Measurement, Measurements
from orchestrator.tracking.mlflow import Mlflow
from orchestrator.tracking.tensorboard import TensorBoard
from orchestrator.tracking.tracker import RunsOf, Tracker, check_package
from orchestrator.tracking.wandb import Wandb
from trainables.errors import UsageError, reason_of

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
ANSWER_SECONDS = 10.0


class Follower(Protocol):
    """Takes measurements in the order in which they arrive."""

    def take(self, measurement: Measurement) -> None:
        """Takes one measurement."""

    def close(self) -> None:
        """Ends what is open."""


def check_trackers(settings: Tracking) -> None:
    """Checks that the packages of an experiment's trackers are installed.

    Raises:
        UsageError: If one is not.
    """
    for module, extra in (("mlflow", "mlflow"), ("wandb", "wandb")):
        if getattr(settings, extra) is not None:
            check_package(module, f"tracking.{extra}", extra)


def open_trackers(experiment: Experiment) -> dict[str, Follower]:
    """The trackers of an experiment by the name of their setting.

    Raises:
        UsageError: If a package is not installed, or a tracker cannot be reached.
    """
    settings, name = experiment.tracking, experiment.name
    check_trackers(settings)
    makers: dict[str, Callable[[str], Tracker]] = {
        "tensorboard": lambda folder: TensorBoard(Path(folder).expanduser() / name),
        "mlflow": lambda uri: Mlflow(uri, name),
        "wandb": lambda project: Wandb(project, name),
    }
    found: dict[str, Follower] = {}
    for setting, make in makers.items():
        value = getattr(settings, setting)
        if value is not None:
            try:
                found[setting] = RunsOf(make(value))
            except Exception as error:
                raise UsageError(
                    f"tracking.{setting}: '{value}' cannot be used ({reason_of(error)}); correct it, or remove it."
                ) from None
    return found


@contextmanager
def following(channel: Measurements, followers: dict[str, Follower], warn: Callable[[str], None]) -> Iterator[None]:
    """Passes measurements on from a thread until the block ends; a follower that fails is dropped, with one line.

    Args:
        channel: The channel of the run's tasks.
        followers: Takers of every measurement, by name.
        warn: Logs one line.
    """
    if not followers:
        yield
        return
    ended = threading.Event()
    thread = threading.Thread(target=_follow, args=(channel, dict(followers), warn, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=60)


def _follow(
    channel: Measurements, followers: dict[str, Follower], warn: Callable[[str], None], ended: threading.Event
) -> None:
    start, last = 0, False
    while not last:
        last = ended.wait(POLL_SECONDS)
        start, found = channel.measured(start, ANSWER_SECONDS) or (start, [])
        _pass_on(found, followers, warn)
    for follower in followers.values():
        try:
            follower.close()
        except Exception as error:
            log.warning("a tracker did not close: %s", reason_of(error))


def _pass_on(found: Sequence[Measurement], followers: dict[str, Follower], warn: Callable[[str], None]) -> None:
    for name, follower in list(followers.items()):
        try:
            for measurement in found:
                follower.take(measurement)
        except Exception as error:  # a service that fails must not end the run
            del followers[name]
            warn(f"tracking.{name} has failed and is left out of the rest of this run: {reason_of(error)}")
