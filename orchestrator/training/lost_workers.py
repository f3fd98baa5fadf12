"""Losses in a distributed pretraining: which errors are losses, and what is said of them."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ray.exceptions import RayActorError
from ray.train import ControllerError, UserCallback

from orchestrator.runtime.progress_updates import ProgressUpdates, log_line, reporter

CONTROLLER_LOST = "pretraining: Ray Train's controller was lost with its process; it goes on from its last checkpoint"

_LOST_PEER = ("gloo", "nccl")
"""Words in the error of a worker that lost another one: its exchange of gradients failed."""


class LostWorkers(UserCallback):
    """Logs which workers were lost, and what the training waits for; it runs in the process of Train's controller.

    Args:
        progress: Channel of progress.
        steps: Steps of the training.
        asks: The workers and their resources, in words.
    """

    def __init__(self, progress: ProgressUpdates, steps: int, asks: str) -> None:
        self._progress, self._steps, self._asks, self._step = progress, steps, asks, 0

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """Remembers the step of the last checkpoint."""
        with suppress(Exception):  # Train does not try again after an error of a callback
            self._step = max(self._step, int(metrics[0]["step"]))

    def after_exception(self, run_context: Any, worker_exceptions: Mapping[int, Exception]) -> None:
        """Logs that workers were lost; an error of a worker's own is raised to the user if it comes again."""
        with suppress(Exception):
            if not any(map(is_lost, worker_exceptions.values())):
                return
            log_line(
                self._progress,
                f"pretraining: a worker was lost with its process or node; training goes on from step {self._step} "
                f"when {self._asks} have started",
            )
            reporter(self._progress, "pretraining")(self._step, self._steps, f"waits for {self._asks}")


def is_loss(error: Exception) -> bool:
    """True if a training ended by the loss of processes, not by an error of its own."""
    if isinstance(error, ControllerError):
        return is_lost(error.controller_failure)
    failures = getattr(error, "worker_failures", None) or {}
    return is_lost(error) or any(map(is_lost, failures.values()))


def is_lost(error: Exception) -> bool:
    """True if an error says that the process of an actor was lost, its own or that of another worker."""
    return isinstance(getattr(error, "health_check_failure", error), RayActorError) or _blames_peer(_line(error))


def cause_of(error: Exception) -> str:
    """The line that names the cause of a failed training, rather than one of a worker that lost another one."""
    failures = getattr(error, "worker_failures", None) or {}
    lines = [_line(failure) for failure in failures.values()] or [_line(error)]
    return next((line for line in lines if not _blames_peer(line)), lines[0])


def _blames_peer(line: str) -> bool:
    return any(name in line.lower() for name in _LOST_PEER)


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    if lines[0].startswith("Traceback"):  # Train gives a worker's own exception as its traceback
        name, _, rest = lines[-1].partition(": ")
        return f"{name.rpartition('.')[2]}: {rest}"
    return f"{type(error).__name__}: {lines[0]}"
