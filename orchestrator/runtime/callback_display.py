"""Progress of a run as calls of a function, for use from Python."""

import threading
from contextlib import suppress

from rich.console import Console

from orchestrator.foundation.task_progress import ProgressCallback, TaskProgress
from orchestrator.runtime.progress import Display, poll
from orchestrator.runtime.progress_updates import ProgressUpdates, Updates


class CallbackDisplay(Display):
    """Passes log lines and the updates of tasks to a callable; nothing is printed.

    Args:
        report: Called with each line and each change.
    """

    def __init__(self, report: ProgressCallback) -> None:
        super().__init__(Console(quiet=True))
        self._report = report

    def log(self, line: str) -> None:
        """Reports a line as a note of the task ``run``."""
        self._report(TaskProgress("run", note=line.strip()))

    def _show(self, updates: ProgressUpdates, stop: threading.Event) -> None:
        seen: Updates = {}
        for latest in poll(updates, stop, self.log):
            self._take(latest)
            for task, item in latest.items():
                if seen.get(task) != item:
                    with suppress(Exception):  # a callable that fails must not end the updates of others
                        self._report(TaskProgress(task, *item))
            seen = dict(latest)
