"""Channel from tasks, wherever they run: the latest progress of each task, for a display, and all that they measure."""

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from orchestrator.runtime.measurements import Measurement, Measurements

Reporter = Callable[[float, float, str], None]
"""Called with (done, total, note)."""

Updates = dict[str, tuple[float, float, str]]
"""(done, total, note) by task."""


class ProgressUpdates(Measurements, Protocol):
    """A channel for progress and measurements; it can be passed to tasks."""

    def report(self, task: str, done: float, total: float, note: str) -> None:
        """Replaces a task's latest update without waiting."""

    def latest(self, seconds: float) -> Updates | None:
        """The latest updates of all tasks; None if there is no answer within so many seconds."""


def reporter(updates: ProgressUpdates, task: str) -> Reporter:
    """A callback that reports one task's progress and never raises."""

    def report(done: float, total: float, note: str) -> None:
        with suppress(Exception):  # a lost update must not end the work
            updates.report(task, done, total, note)

    return report


class LocalUpdates:
    """The latest updates and all measurements, in this process; Ray's progress actor is one of these too."""

    def __init__(self) -> None:
        self._latest: Updates = {}
        self._measured: list[Measurement] = []

    def report(self, task: str, done: float, total: float, note: str) -> None:
        """Replaces a task's latest update."""
        self._latest[task] = (done, total, note)

    def latest(self, seconds: float = 0.0) -> Updates:
        """The latest updates."""
        del seconds
        return dict(self._latest)

    def measure(self, measurement: Measurement) -> None:
        """Appends a measurement."""
        self._measured.append(measurement)

    def measured(self, start: int, seconds: float = 0.0) -> tuple[int, list[Measurement]]:
        """The number of measurements, and those from number ``start``."""
        del seconds
        count = len(self._measured)
        return count, self._measured[start if start <= count else 0 :]


class _NoProgress:
    """A channel that discards updates."""

    def report(self, task: str, done: float, total: float, note: str) -> None:
        """Does nothing."""

    def latest(self, seconds: float) -> Updates:
        """No updates."""
        del seconds
        return {}

    def measure(self, measurement: Measurement) -> None:
        """Does nothing."""

    def measured(self, start: int, seconds: float) -> tuple[int, list[Measurement]]:
        """No measurements."""
        del start, seconds
        return 0, []


NO_PROGRESS: ProgressUpdates = _NoProgress()
"""Channel for callers without a display; updates are discarded."""
