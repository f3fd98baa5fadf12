"""Live progress: tasks report it, the terminal shows it.

On a terminal there is one moving line per task; in a log, one plain line per task every few seconds. A part of a task,
named ``task: part``, has a line only while it moves. After half a minute without progress, a line names what is running
or waiting for resources. Errors of the display never end a run.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from orchestrator.foundation.quantities import duration
from orchestrator.runtime.progress_updates import ProgressUpdates, Updates
from orchestrator.runtime.terminal import shown

log = logging.getLogger(__name__)

LOG_SECONDS = 10.0
STILL_SECONDS = 30.0
POLL_SECONDS = 0.3
LINE_SECONDS = 30.0
"""Seconds between two lines of :meth:`Display.line` in a log."""


class Display:
    """Prints a run's log lines and the progress of its tasks.

    Attributes:
        console: Console to print to.
        free: Describes the free resources of the cluster; None while there is no cluster.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.free: Callable[[], str] | None = None
        self._activity = ""
        self._asked: dict[str, str] = {}
        self._latest: Updates = {}
        self._moved = time.monotonic()

    def log(self, line: str) -> None:
        """Logs one line and prints it above moving lines."""
        self._moved = time.monotonic()
        log.info("%s", line.strip())
        # The run goes on where the reader has left; rich would exit on a broken pipe.
        with suppress(OSError, ValueError, SystemExit):
            self.console.print(shown(line), highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def doing(self, activity: str, asks: Mapping[str, str] | None = None) -> Iterator[None]:
        """Names the current activity, and logs it again after every half minute without progress.

        Args:
            activity: Its name, such as ``search``.
            asks: Requested resources, such as ``1 CPU``, by the task that waits for them.
        """
        outer = self._activity
        self._activity, self._moved = activity, time.monotonic()
        if outer:  # its thread logs the standstill, by the new name
            try:
                yield
            finally:
                self._activity = outer
            return
        self._asked, ended = dict(asks or {}), threading.Event()
        thread = threading.Thread(target=self._log_still, args=(ended,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(timeout=1)
            self._activity, self._asked = "", {}

    def skip(self, task: str) -> None:
        """Takes a task that has nothing to do off those that wait for resources."""
        self._asked = {other: asks for other, asks in self._asked.items() if other != task}

    @contextmanager
    def line(self) -> Iterator[Callable[[float, float, str], None]]:
        """Shows one line: a progress bar on a terminal, a plain line every half minute in a log.

        Yields:
            A function of (done, total, line) that updates it.
        """
        if not self.console.is_terminal:
            logged = time.monotonic()

            def log_at_intervals(done: float, total: float, line: str) -> None:
                nonlocal logged
                del done, total
                if time.monotonic() - logged >= LINE_SECONDS:
                    logged = time.monotonic()
                    self.log(line)

            yield log_at_intervals
            return
        columns = (BarColumn(24), TextColumn("{task.description}", markup=False))
        with Progress(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task("", total=None)
            yield lambda done, total, line: bar.update(task, completed=done, total=total, description=shown(line))

    @contextmanager
    def watching(self, updates: ProgressUpdates) -> Iterator[None]:
        """Shows the latest updates until the block ends."""
        stop = threading.Event()
        thread = threading.Thread(target=self._show, args=(updates, stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(timeout=5)

    def _show(self, updates: ProgressUpdates, stop: threading.Event) -> None:
        if self.console.is_terminal:
            with suppress(Exception):  # a terminal that cannot show moving lines may still take plain ones
                self._show_live(updates, stop)
        while not stop.is_set():
            with suppress(Exception):
                self._show_lines(updates, stop)

    def _show_live(self, updates: ProgressUpdates, stop: threading.Event) -> None:
        columns = ("{task.description}", BarColumn(24), "{task.completed:.0f}/{task.total:.0f}")
        bars = [TextColumn(column) if isinstance(column, str) else column for column in columns]
        tasks: dict[str, TaskID] = {}
        with Progress(*bars, TimeElapsedColumn(), TextColumn("{task.fields[note]}"), console=self.console) as progress:
            for latest in poll(updates, stop, self.log):
                if self._take(latest):
                    self._moved = time.monotonic()
                for task, (done, total, note) in latest.items():
                    if task not in tasks:
                        tasks[task] = progress.add_task(task, note=note, total=total)
                    visible = not (_is_part(task) and done >= total)
                    progress.update(tasks[task], completed=done, total=total, note=note, visible=visible)

    def _show_lines(self, updates: ProgressUpdates, stop: threading.Event) -> None:
        logged: dict[str, tuple[float, tuple[float, float, str]]] = {}
        for latest in poll(updates, stop, self.log):
            self._take(latest)
            for task, item in latest.items():
                at, before = logged.get(task, (0.0, None))
                finished = item[0] >= item[1] and item != before
                due = not _is_part(task) and item != before and time.monotonic() - at >= LOG_SECONDS
                if finished or due:
                    logged[task] = (time.monotonic(), item)
                    self.log(f"  {task}: {item[0]:.0f}/{item[1]:.0f} {item[2]}")

    def _take(self, latest: Updates) -> bool:
        """Merges updates into the latest ones; true if anything has changed."""
        changed = any(self._latest.get(task) != item for task, item in latest.items())
        self._latest = {**self._latest, **latest}
        return changed

    def _log_still(self, ended: threading.Event) -> None:
        begun = time.monotonic()
        while not ended.wait(min(1.0, STILL_SECONDS / 4)):
            if time.monotonic() - self._moved >= STILL_SECONDS:
                with suppress(Exception):
                    for line in self._still(time.monotonic() - begun):
                        self.log(line)
                self._moved = time.monotonic()

    def _still(self, seconds: float) -> list[str]:
        """Lines for tasks that wait for resources and tasks that run without progress."""
        free = f"; {self.free()}" if self.free else ""
        waiting = {task: asks for task, asks in self._asked.items() if not self._begun(task)}
        lines = [f"  waiting for {asks} to start {task}{free}" for task, asks in waiting.items()]
        moving = {
            task: item
            for task, item in self._latest.items()
            if task in self._asked and task not in waiting and item[0] < item[1]
        }
        lines += [
            f"  still {task}: {done:.0f}/{total:.0f} {note}{free}" for task, (done, total, note) in moving.items()
        ]
        return lines or [f"  still {self._activity}, for {duration(seconds)}{free}"]

    def _begun(self, task: str) -> bool:
        """True if a worker has reported on a task; a report of 0 done may be its driver's."""
        done, _, note = self._latest.get(task, (0.0, 0.0, ""))
        return done > 0 or note.startswith("trial") or any(name.startswith(f"{task}: ") for name in self._latest)


def _is_part(task: str) -> bool:
    return ": " in task


def poll(updates: ProgressUpdates, stop: threading.Event, log: Callable[[str], None]) -> Iterator[Updates]:
    """Polls the latest updates until ``stop`` is set, and once more after it; logs the lines that come with them."""
    last = False
    while not last:
        last = stop.wait(POLL_SECONDS)
        latest = updates.latest(2.0)
        for line in updates.lines():
            log(line)
        if latest is not None:
            yield latest
