"""A run's progress given to a callable, and to no terminal."""

import threading
from contextlib import suppress
from typing import Any

from rich.console import Console

from orchestrator.foundation.task_progress import ProgressCallback, TaskProgress
from orchestrator.runtime.progress import Display, News, poll


class CallbackDisplay(Display):
    """Gives lines and the news of workers to a callable.

    Args:
        report: The callable.
    """

    def __init__(self, report: ProgressCallback) -> None:
        super().__init__(Console(quiet=True))
        self._report = report

    def say(self, line: str) -> None:
        """Gives one line."""
        self._report(TaskProgress("run", note=line.strip()))

    def _show(self, board: Any, stop: threading.Event) -> None:
        seen: News = {}
        for news in poll(board, stop, 1.0):
            self._take(news)
            for task, item in news.items():
                if seen.get(task) != item:
                    with suppress(Exception):  # a callable that fails must not end the news of others
                        self._report(TaskProgress(task, *item))
            seen = dict(news)
