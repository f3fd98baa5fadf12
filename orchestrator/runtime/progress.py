"""Live progress: tasks report it, the terminal shows it.

On a terminal there is one moving line per task; in a log, one plain line per task every few seconds. A part of a task,
named ``task: part``, has a line only while it moves. Where nothing moves for half a minute, a line says what is still
going on, or what is waited for. Nothing that goes wrong here ends a run.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from orchestrator.runtime.progress_updates import ProgressUpdates, Updates
from orchestrator.runtime.terminal import duration, shown

log = logging.getLogger(__name__)

LOG_SECONDS = 10.0
STILL_SECONDS = 30.0
POLL_SECONDS = 0.3
LINE_SECONDS = 30.0
"""Between two lines of :meth:`Display.line` in a log."""


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
        self._latest: Updates = {}
        self._moved = time.monotonic()

    def say(self, line: str) -> None:
        """Prints one line, above any moving ones."""
        self._moved = time.monotonic()
        log.info("%s", line.strip())
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
        outer = self._activity
        self._activity, self._moved = activity, time.monotonic()
        if outer:  # which says that nothing moves, and by this name
            try:
                yield
            finally:
                self._activity = outer
            return
        self._asked, ended = dict(asks or {}), threading.Event()
        thread = threading.Thread(target=self._say_still, args=(ended,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(timeout=1)
            self._activity, self._asked = "", {}

    @contextmanager
    def line(self) -> Iterator[Callable[[float, float, str], None]]:
        """Shows one line: a moving bar on a terminal, a plain line every half minute in a log.

        Yields:
            A callable that takes (done, total, line).
        """
        if not self.console.is_terminal:
            said = time.monotonic()

            def say_now_and_then(done: float, total: float, line: str) -> None:
                nonlocal said
                del done, total
                if time.monotonic() - said >= LINE_SECONDS:
                    said = time.monotonic()
                    self.say(line)

            yield say_now_and_then
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
        tasks: dict[str, Any] = {}
        with Progress(*bars, TimeElapsedColumn(), TextColumn("{task.fields[note]}"), console=self.console) as progress:
            for latest in poll(updates, stop):
                if self._take(latest):
                    self._moved = time.monotonic()
                for task, (done, total, note) in latest.items():
                    if task not in tasks:
                        tasks[task] = progress.add_task(task, note=note, total=total)
                    visible = not (_is_part(task) and done >= total)
                    progress.update(tasks[task], completed=done, total=total, note=note, visible=visible)

    def _show_lines(self, updates: ProgressUpdates, stop: threading.Event) -> None:
        said: dict[str, tuple[float, tuple[float, float, str]]] = {}
        for latest in poll(updates, stop):
            self._take(latest)
            for task, item in latest.items():
                at, before = said.get(task, (0.0, None))
                finished = item[0] >= item[1] and item != before
                due = not _is_part(task) and item != before and time.monotonic() - at >= LOG_SECONDS
                if finished or due:
                    said[task] = (time.monotonic(), item)
                    self.say(f"  {task}: {item[0]:.0f}/{item[1]:.0f} {item[2]}")

    def _take(self, latest: Updates) -> bool:
        """Takes updates in; whether anything has changed."""
        changed = any(self._latest.get(task) != item for task, item in latest.items())
        self._latest = {**self._latest, **latest}
        return changed

    def _say_still(self, ended: threading.Event) -> None:
        begun = time.monotonic()
        while not ended.wait(min(1.0, STILL_SECONDS / 4)):
            if time.monotonic() - self._moved >= STILL_SECONDS:
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
            for task, item in self._latest.items()
            if task in self._asked and task not in waiting and item[0] < item[1]
        }
        lines += [
            f"  still {task}: {done:.0f}/{total:.0f} {note}{free}" for task, (done, total, note) in moving.items()
        ]
        return lines or [f"  still {self._activity}, for {duration(seconds)}{free}"]

    def _begun(self, task: str) -> bool:
        """Whether a worker has said anything of a task; that it is to begin, its driver says too."""
        done, _, note = self._latest.get(task, (0.0, 0.0, ""))
        return done > 0 or note.startswith("trial") or any(name.startswith(f"{task}: ") for name in self._latest)


def _is_part(task: str) -> bool:
    return ": " in task


def poll(updates: ProgressUpdates, stop: threading.Event) -> Iterator[Updates]:
    """The latest updates, again and again, and once more after ``stop``."""
    last = False
    while not last:
        last = stop.wait(POLL_SECONDS)
        if (latest := updates.latest(2.0)) is not None:
            yield latest
