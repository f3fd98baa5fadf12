"""Live progress: workers tell a board, the terminal shows it.

On a terminal there is one moving line per task; in a log, one plain line per task every few seconds. A part of a task,
named ``task: part``, has a line only while it moves. Where nothing moves for half a minute, a line says what is still
going on, or what is waited for. Nothing that goes wrong here ends a run.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import ray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from orchestrator.runtime.terminal import duration, shown

Tell = Callable[[float, float, str], None]
"""Called with (done, total, note)."""

News = dict[str, tuple[float, float, str]]

_LOG_SECONDS = 10.0
_STILL_SECONDS = 30.0
_ANSWER_SECONDS = 60.0
"""After so long an answer of the board counts as lost."""


class Board:
    """Holds the latest news of every task."""

    def __init__(self) -> None:
        self._news: News = {}

    def tell(self, task: str, done: float, total: float, note: str) -> None:
        """Replaces a task's news."""
        self._news[task] = (done, total, note)

    def read(self) -> News:
        """All news."""
        return self._news


def new_board() -> Any:
    """Starts a board as a Ray actor; where it dies, Ray starts it again under the same handle."""
    return ray.remote(num_cpus=0, max_restarts=-1)(Board).remote()


def teller(board: Any, task: str) -> Tell:
    """A callback that tells a board about one task and never waits for it."""

    def tell(done: float, total: float, note: str) -> None:
        with suppress(Exception):  # a lost line must not take the work with it
            board.tell.remote(task, done, total, note)

    return tell


class Display:
    """What a run prints.

    Attributes:
        console: Where it goes.
        free: Says what of the cluster's resources is free; set while there is a cluster.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.free: Callable[[], str] | None = None
        self._activity = ""
        self._asked: dict[str, str] = {}
        self._news: News = {}
        self._moved = time.monotonic()

    def say(self, line: str) -> None:
        """Prints one line, above any moving ones."""
        self._moved = time.monotonic()
        # Nobody may be reading any more, and the run goes on; rich would exit where a pipe is broken.
        with suppress(OSError, ValueError, SystemExit):
            self.console.print(shown(line), highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def doing(self, activity: str, asks: Mapping[str, str] | None = None) -> Iterator[None]:
        """Names what goes on, and says so again whenever nothing has moved for half a minute.

        Args:
            activity: What goes on, such as ``search``.
            asks: What the cluster is asked for, such as ``1 CPU``, by the task that waits for it.
        """
        self._activity, self._asked, self._moved = activity, dict(asks or {}), time.monotonic()
        ended = threading.Event()
        thread = threading.Thread(target=self._say_still, args=(ended,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(timeout=1)
            self._activity, self._asked = "", {}

    @contextmanager
    def watching(self, board: Any) -> Iterator[None]:
        """Shows a board's news until the block ends."""
        stop = threading.Event()
        thread = threading.Thread(target=self._show, args=(board, stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(timeout=5)

    def _show(self, board: Any, stop: threading.Event) -> None:
        if self.console.is_terminal:
            with suppress(Exception):  # a terminal that cannot show moving lines may still take plain ones
                self._show_live(board, stop)
        while not stop.is_set():
            with suppress(Exception):
                self._show_lines(board, stop)

    def _show_live(self, board: Any, stop: threading.Event) -> None:
        columns = ("{task.description}", BarColumn(24), "{task.completed:.0f}/{task.total:.0f}")
        bars = [TextColumn(column) if isinstance(column, str) else column for column in columns]
        tasks: dict[str, Any] = {}
        with Progress(*bars, TimeElapsedColumn(), TextColumn("{task.fields[note]}"), console=self.console) as progress:
            for news in poll(board, stop, 0.3):
                if self._take(news):
                    self._moved = time.monotonic()
                for task, (done, total, note) in news.items():
                    if task not in tasks:
                        tasks[task] = progress.add_task(task, note=note, total=total)
                    visible = not (_is_part(task) and done >= total)
                    progress.update(tasks[task], completed=done, total=total, note=note, visible=visible)

    def _show_lines(self, board: Any, stop: threading.Event) -> None:
        said: dict[str, tuple[float, tuple[float, float, str]]] = {}
        for news in poll(board, stop, 1.0):
            self._take(news)
            for task, item in news.items():
                at, before = said.get(task, (0.0, None))
                finished = item[0] >= item[1] and item != before
                due = not _is_part(task) and item != before and time.monotonic() - at >= _LOG_SECONDS
                if finished or due:
                    said[task] = (time.monotonic(), item)
                    self.say(f"  {task}: {item[0]:.0f}/{item[1]:.0f} {item[2]}")

    def _take(self, news: News) -> bool:
        """Takes the latest news in; whether anything has changed."""
        changed = any(self._news.get(task) != item for task, item in news.items())
        self._news = {**self._news, **news}
        return changed

    def _say_still(self, ended: threading.Event) -> None:
        begun = time.monotonic()
        while not ended.wait(min(1.0, _STILL_SECONDS / 4)):
            if time.monotonic() - self._moved >= _STILL_SECONDS:
                with suppress(Exception):
                    for line in self._still(time.monotonic() - begun):
                        self.say(line)
                self._moved = time.monotonic()

    def _still(self, seconds: float) -> list[str]:
        """What is waited for, and what goes on without having moved."""
        free = f"; {self.free()}" if self.free else ""
        waiting = {task: asks for task, asks in self._asked.items() if not self._begun(task)}
        lines = [f"  waiting for {asks} to start {task}{free}" for task, asks in waiting.items()]
        moving = {
            task: item
            for task, item in self._news.items()
            if task in self._asked and task not in waiting and item[0] < item[1]
        }
        lines += [
            f"  still {task}: {done:.0f}/{total:.0f} {note}{free}" for task, (done, total, note) in moving.items()
        ]
        return lines or [f"  still {self._activity}, for {duration(seconds)}{free}"]

    def _begun(self, task: str) -> bool:
        """Whether a worker has said anything of a task; that it is to begin, its driver says too."""
        done, _, note = self._news.get(task, (0.0, 0.0, ""))
        return done > 0 or note.startswith("trial") or any(name.startswith(f"{task}: ") for name in self._news)


def _is_part(task: str) -> bool:
    return ": " in task


def poll(board: Any, stop: threading.Event, seconds: float) -> Iterator[News]:
    """Gives the news of a board, again and again; a slow answer is waited for, and a lost one is asked for again."""
    answer, asked, last = None, 0.0, False
    while not last:
        last = stop.wait(seconds)
        try:
            if answer is None or time.monotonic() - asked > _ANSWER_SECONDS:
                answer, asked = board.read.remote(), time.monotonic()
            if ray.wait([answer], timeout=2.0)[0]:
                done, answer = answer, None
                yield ray.get(done)
        except Exception:  # a board that died must not take the run with it; Ray starts it again
            answer = None
