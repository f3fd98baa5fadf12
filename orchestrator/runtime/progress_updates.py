"""How tasks report progress, wherever they run, and how a display reads the latest of it."""

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

Reporter = Callable[[float, float, str], None]
"""Called with (done, total, note)."""

Updates = dict[str, tuple[float, float, str]]
"""(done, total, note) by task."""


class ProgressUpdates(Protocol):
    """A channel of progress; it can be handed to tasks."""

    def report(self, task: str, done: float, total: float, note: str) -> None:
        """Replaces a task's latest update; never waits."""

    def latest(self, seconds: float) -> Updates | None:
        """The latest updates of all tasks; None if there is no answer after so many seconds."""


def reporter(updates: ProgressUpdates, task: str) -> Reporter:
    """A callback that reports one task's progress, and never disturbs its work."""

    def report(done: float, total: float, note: str) -> None:
        with suppress(Exception):  # a lost line must not take the work with it
            updates.report(task, done, total, note)

    return report


class LocalUpdates:
    """The latest updates, in this process; the memory of Ray's actor too."""

    def __init__(self) -> None:
        self._latest: Updates = {}

    def report(self, task: str, done: float, total: float, note: str) -> None:
        """Replaces a task's latest update."""
        self._latest[task] = (done, total, note)

    def latest(self, seconds: float = 0.0) -> Updates:
        """The latest updates."""
        del seconds
        return dict(self._latest)


class _NoProgress:
    """Takes updates and forgets them."""

    def report(self, task: str, done: float, total: float, note: str) -> None:
        """Does nothing."""

    def latest(self, seconds: float) -> Updates:
        """Nothing."""
        del seconds
        return {}


NO_PROGRESS: ProgressUpdates = _NoProgress()
"""Where nobody looks."""
