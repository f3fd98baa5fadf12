"""Start of a Ray of our own that is patient: on a busy machine its processes take minutes.

Ray gives up after 30 seconds, which no setting of its own changes for the raylet.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

from trainables.errors import UsageError

PATIENCE = "RAYSCALE_RAY_START_SECONDS"
"""Environment variable: seconds that a Ray of our own may take to start."""

SAID_AFTER = 20.0
"""Seconds after which a start that takes long is said to be waited for."""

PAUSE = 0.5
"""Seconds between two looks for a raylet."""

_SECONDS = 300
_STARTS = 3
_ENDED = "timed out during startup"
"""Ray's words for a node that did not come up, or ended before it did."""


def patience() -> int:
    """Seconds that a Ray of our own may take to start.

    Raises:
        UsageError: If the setting is no whole number above 0.
    """
    text = os.environ.get(PATIENCE) or str(_SECONDS)
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"{PATIENCE} must be a whole number of seconds above 0, found '{text}'.")
    return int(text)


@contextmanager
def patient_start(show: Callable[[str], None]) -> Iterator[None]:
    """Lets Ray's processes take their time to start in the block.

    Args:
        show: Called with a line when the start takes long.
    """
    seconds = patience()
    os.environ.setdefault("RAY_gcs_server_port_wait_time_s", str(seconds))
    os.environ.setdefault("RAY_worker_register_timeout_seconds", str(seconds))
    os.environ.setdefault("RAY_agent_register_timeout_ms", str(1000 * seconds))  # the raylet ends itself after 30 s
    services: Any = ray._private.services
    ask, until = services.get_node, time.monotonic() + seconds

    def ask_again(address: str, node: str) -> Any:
        while True:
            try:
                return ask(address, node)
            except RuntimeError:  # the raylet has not registered yet
                if time.monotonic() > until or not has_raylet():
                    raise
                time.sleep(PAUSE)

    line = (
        f"Ray has not started after {SAID_AFTER:.0f} s; this machine is busy. It is waited for, {seconds} s in all "
        f"({PATIENCE})."
    )
    timer = threading.Timer(SAID_AFTER, show, (line,))
    timer.daemon = True
    timer.start()
    services.get_node = ask_again
    try:
        yield
    finally:
        timer.cancel()
        services.get_node = ask


def started_again(start: Callable[[], Any], show: Callable[[str], None]) -> Any:
    """Result of ``start``; a Ray whose node ended while it started is started anew, twice at most.

    A raylet ends itself when its agents have not told their ports after 15 seconds, which no setting of Ray's changes.

    Args:
        start: Starts Ray.
        show: Called with a line before each further start.
    """
    until = time.monotonic() + patience()
    for _ in range(_STARTS - 1):
        try:
            return start()
        except Exception as error:  # a plain Exception, too, when a node does not come up in time
            if _ENDED not in str(error) or time.monotonic() > until:
                raise
            ray.shutdown()
            show("Ray's node ended while it started, because this machine is busy; it is started again.")
    return start()


def has_raylet() -> bool:
    """True if a raylet that this process has started lives; true too where the system does not list processes."""
    processes = Path("/proc")
    if not (processes / "self" / "stat").exists():
        return True
    for process in processes.iterdir():
        try:
            stat = (process / "stat").read_text(errors="replace") if process.name.isdecimal() else ""
        except OSError:  # it has ended meanwhile
            continue
        name, _, rest = stat.partition("(")[2].rpartition(")")
        if name == "raylet" and rest.split()[1] == str(os.getpid()) and rest.split()[0] != "Z":
            return True
    return False
