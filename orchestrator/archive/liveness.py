"""Which runs on a bucket are alive: each says so every minute in an object of its own.

Folders need no such thing: there, the kernel tells by the locks that :mod:`orchestrator.archive.commit` holds.
"""

import json
import os
import time
from contextlib import suppress
from pathlib import Path

from orchestrator.archive.ledger import Ledger
from orchestrator.storage import Storage

_NAME = "alive"
_EVERY_SECONDS = 60.0
_DEAD_AFTER_SECONDS = 600.0


class Heartbeat:
    """Says that a run is alive; does nothing where its ledger is in a folder."""

    def __init__(self, ledger: Ledger) -> None:
        self._object = ledger.place.child(ledger.run, _NAME) if ledger.place.remote else None
        self._said = 0.0

    def beat(self) -> None:
        """Says so, if it is time."""
        if self._object is not None and time.monotonic() - self._said > _EVERY_SECONDS:
            self._object.write_bytes(json.dumps(_process(os.getpid())).encode())
            self._said = time.monotonic()

    def stop(self) -> None:
        """Says no more."""
        if self._object is not None:
            with suppress(OSError):
                self._object.delete()


def others_alive(ledger: Ledger) -> bool:
    """Whether another run works on the same outputs in a bucket."""
    for facts in ledger.place.files():
        run, _, name = facts.path.rpartition("/")
        if name == _NAME and run != ledger.run:
            there = ledger.place.child(facts.path)
            if time.time() - facts.modified < _DEAD_AFTER_SECONDS and not _gone(there):
                return True
            there.delete()
    return False


def _gone(there: Storage) -> bool:
    """Whether the run was a process of this very machine, and has ended."""
    told = there.read_json()
    return isinstance(told, dict) and told["machine"] == _machine() and told != _process(told["process"])


def _process(number: int) -> dict[str, object]:
    """A process with its time of start, since numbers are given again."""
    try:
        started = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        started = ""
    return {"machine": _machine(), "process": number, "started": started}


def _machine() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
