"""Channel from tasks, wherever they run: the latest progress of each task, lines for the log, and measurements."""

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

    def log(self, line: str) -> None:
        """Adds a line to the log of the run without waiting."""

    def begin(self, submission: str, name: str) -> None:
        """Notes that a submitted task begins; if it has begun before, a line says that it was lost.

        Args:
            submission: Unique name of the submission.
            name: Name of the task for people.
        """

    def latest(self, seconds: float) -> Updates | None:
        """The latest updates of all tasks; None if there is no answer within so many seconds."""

    def lines(self) -> list[str]:
        """Lines that were not returned before; a remote channel has those that came with the latest updates."""


def log_line(updates: ProgressUpdates, line: str) -> None:
    """Adds a line to the log of the run, and never raises."""
    with suppress(Exception):
        updates.log(line)


def reporter(updates: ProgressUpdates, task: str) -> Reporter:
    """A callback that reports one task's progress and never raises."""

    def report(done: float, total: float, note: str) -> None:
        with suppress(Exception):  # a lost update must not end the work
            updates.report(task, done, total, note)

    return report


class LocalUpdates:
    """The latest updates, lines and all measurements, in this process; Ray's progress actor is one of these too."""

    def __init__(self) -> None:
        self._latest: Updates = {}
        self._lines: list[str] = []
        self._begun: set[str] = set()
        self._measured: list[Measurement] = []

    def report(self, task: str, done: float, total: float, note: str) -> None:
        """Replaces a task's latest update."""
        self._latest[task] = (done, total, note)

    def log(self, line: str) -> None:
        """Adds a line."""
        self._lines.append(line)

    def begin(self, submission: str, name: str) -> None:
        """Adds a line if the submitted task has begun before."""
        if submission in self._begun:
            self.log(f"{name} was lost with its process or node; it starts again, what had finished is kept")
        self._begun.add(submission)

    def latest(self, seconds: float = 0.0) -> Updates:
        """The latest updates."""
        del seconds
        return dict(self._latest)

    def lines(self) -> list[str]:
        """Lines since the last call."""
        lines, self._lines = self._lines, []
        return lines

    def answer(self) -> tuple[Updates, list[str]]:
        """The latest updates, and the lines since the last answer."""
        return self.latest(), self.lines()

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

    def log(self, line: str) -> None:
        """Does nothing."""

    def begin(self, submission: str, name: str) -> None:
        """Does nothing."""

    def latest(self, seconds: float) -> Updates:
        """No updates."""
        del seconds
        return {}

    def lines(self) -> list[str]:
        """No lines."""
        return []

    def measure(self, measurement: Measurement) -> None:
        """Does nothing."""

    def measured(self, start: int, seconds: float) -> tuple[int, list[Measurement]]:
        """No measurements."""
        del start, seconds
        return 0, []


NO_PROGRESS: ProgressUpdates = _NoProgress()
"""Channel for callers without a display; updates are discarded."""
