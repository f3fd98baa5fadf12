"""Processor time of a process and of all that it started, from Linux's /proc; other work on the machine is left out."""

import os
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from types import TracebackType

_TICKS = os.sysconf("SC_CLK_TCK")


class ProcessTimes:
    """Follows a tree of processes on a thread while the block lasts.

    Args:
        root: The process at its top.
        every: Seconds between two looks; what a process does after the last look before its end is missed.
    """

    def __init__(self, root: int, every: float = 0.5) -> None:
        self._root, self._every, self._stop = root, every, threading.Event()
        self._seconds: dict[tuple[int, int, str], float] = {}
        self._history: list[tuple[float, Counter[str]]] = []
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> "ProcessTimes":
        self._look()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def between(self, begin: float, end: float) -> Counter[str]:
        """Processor seconds between two times of the system's clock, by what the processes are called."""
        looks = [spent for at, spent in self._history if begin <= at <= end]
        return looks[-1] - looks[0] if looks else Counter()

    def _follow(self) -> None:
        while not self._stop.wait(self._every):
            self._look()

    def _look(self) -> None:
        children, seconds = defaultdict(list), {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
            except OSError:  # it has ended
                continue
            fields, pid = rest.split(), int(folder.name)
            children[int(fields[1])].append(pid)
            # A number is used again, with its start time it is one process for good.
            seconds[pid] = (name, (int(fields[11]) + int(fields[12])) / _TICKS, int(fields[19]))
        pending = [self._root]
        while pending:
            pid = pending.pop()
            pending += children[pid]
            if pid in seconds:
                name, spent, started = seconds[pid]
                self._seconds[(pid, started, name)] = spent
        told: Counter[str] = Counter()
        for (_, _, name), spent in self._seconds.items():
            told[name] += spent
        self._history.append((time.time(), told))
