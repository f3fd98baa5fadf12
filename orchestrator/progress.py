"""Live progress: workers tell a board, the terminal shows it.

On a terminal there is one moving line per task; in a log, one plain line per task every few seconds. A part of a task,
named ``task: part``, has a line only while it moves.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

Tell = Callable[[float, float, str], None]
"""Called with (done, total, note)."""

_LOG_SECONDS = 10.0


class Board:
    """Holds the latest news of every task."""

    def __init__(self) -> None:
        self._news: dict[str, tuple[float, float, str]] = {}

    def tell(self, task: str, done: float, total: float, note: str) -> None:
        """Replaces a task's news."""
        self._news[task] = (done, total, note)

    def read(self) -> dict[str, tuple[float, float, str]]:
        """All news."""
        return self._news


def new_board() -> Any:
    """Starts a board as a Ray actor."""
    return ray.remote(num_cpus=0)(Board).remote()


def teller(board: Any, task: str) -> Tell:
    """A callback that tells a board about one task and never waits for it."""

    def tell(done: float, total: float, note: str) -> None:
        board.tell.remote(task, done, total, note)

    return tell


class Display:
    """What a run prints."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def say(self, line: str) -> None:
        """Prints one line, above any moving ones."""
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def watching(self, board: Any) -> Iterator[None]:
        """Shows a board's news until the block ends."""
        stop = threading.Event()
        show = self._show_live if self.console.is_terminal else self._show_lines
        thread = threading.Thread(target=show, args=(board, stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(timeout=5)

    def _show_live(self, board: Any, stop: threading.Event) -> None:
        columns = ("{task.description}", BarColumn(24), "{task.completed:.0f}/{task.total:.0f}")
        bars = [TextColumn(column) if isinstance(column, str) else column for column in columns]
        tasks: dict[str, Any] = {}
        with Progress(*bars, TimeElapsedColumn(), TextColumn("{task.fields[note]}"), console=self.console) as progress:
            for news in _poll(board, stop, 0.3):
                for task, (done, total, note) in news.items():
                    if task not in tasks:
                        tasks[task] = progress.add_task(task, note=note, total=total)
                    visible = not (_is_part(task) and done >= total)
                    progress.update(tasks[task], completed=done, total=total, note=note, visible=visible)

    def _show_lines(self, board: Any, stop: threading.Event) -> None:
        said: dict[str, tuple[float, tuple[float, float, str]]] = {}
        for news in _poll(board, stop, 1.0):
            for task, item in news.items():
                at, before = said.get(task, (0.0, None))
                finished = item[0] >= item[1] and item != before
                due = not _is_part(task) and item != before and time.monotonic() - at >= _LOG_SECONDS
                if finished or due:
                    said[task] = (time.monotonic(), item)
                    self.say(f"  {task}: {item[0]:.0f}/{item[1]:.0f} {item[2]}")


def _is_part(task: str) -> bool:
    return ": " in task


def _poll(board: Any, stop: threading.Event, seconds: float) -> Iterator[dict[str, tuple[float, float, str]]]:
    last = False
    while not last:
        last = stop.wait(seconds)
        try:
            yield ray.get(board.read.remote(), timeout=5)
        except Exception:  # a board that died must not take the run with it
            return
