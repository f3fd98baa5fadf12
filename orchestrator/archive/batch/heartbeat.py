"""Heartbeats of runs on a bucket: every run writes an object of its own every minute.

Folders need no heartbeats: there, the locks of a process show whether it is alive.
"""

import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from orchestrator.archive.batch.ledger import Ledger
from orchestrator.foundation.s3 import delete_object, objects_below, open_object, write_object
from orchestrator.runtime.process_identity import kernel, start_of

_NAME = "alive"
_EVERY_SECONDS = 60.0
_AGAIN_SECONDS = 10.0
_DEAD_AFTER_SECONDS = 600.0
_LONGEST = 2**16


@dataclass(frozen=True, slots=True)
class OtherRun:
    """A run that works on the same outputs.

    Attributes:
        run: Its name.
        host: The machine it runs on.
        process: Its process there.
        since: Its start (UTC), by that machine's clock.
        beats: Number of its heartbeats.
    """

    run: str
    host: str = "another machine"
    process: int = 0
    since: str = "an unknown time"
    beats: int = 0

    def __str__(self) -> str:
        return f"process {self.process or 'unknown'} on {self.host}, since {self.since}"


class Heartbeat:
    """Heartbeat of a run; does nothing where its ledger is in a folder."""

    def __init__(self, ledger: Ledger) -> None:
        self._object = ledger.place.child(ledger.run, _NAME).uri if ledger.place.remote else None
        self._next, self._beats = 0.0, 0
        self._since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

    def beat(self) -> None:
        """Writes a heartbeat if it is due; a server that does not answer is asked again a little later."""
        if self._object is None or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _AGAIN_SECONDS
        record = {
            **process_facts(os.getpid()),
            "host": socket.gethostname(),
            "since": self._since,
            "beats": self._beats + 1,
        }
        with suppress(OSError):
            write_object(self._object, json.dumps(record).encode())
            self._beats += 1
            self._next = time.monotonic() + _EVERY_SECONDS

    def stop(self) -> None:
        """Ends the heartbeat."""
        if self._object is not None:
            with suppress(OSError):
                delete_object(self._object)


def others_alive(ledger: Ledger) -> list[OtherRun]:
    """Other runs that work on the same outputs in a bucket; what dead ones left there is removed.

    Ages are taken by the server's clock: between another run's object and this run's own, which has just been written.
    """
    found = {
        run: facts.modified for facts in objects_below(ledger.place.uri) if (run := _run_of(facts.path)) is not None
    }
    now = found.pop(ledger.run, time.time())
    alive = []
    for run, modified in sorted(found.items()):
        record = _record(ledger.place.child(run, _NAME).uri)
        if now - modified < _DEAD_AFTER_SECONDS and not _gone(record):
            alive.append(_other(run, record))
        elif record:
            with suppress(OSError):
                delete_object(ledger.place.child(run, _NAME).uri)
    return alive


def _run_of(path: str) -> str | None:
    run, _, name = path.rpartition("/")
    return run if name == _NAME and run else None


def _record(uri: str) -> dict[str, object]:
    """Heartbeat of a run as read from its object; None if it is none of ours."""
    with suppress(OSError, ValueError, RecursionError), open_object(uri) as stream:
        record = json.loads(stream.read(_LONGEST))
        if isinstance(record, dict) and {"machine", "process", "started"} <= record.keys():
            return record
    return {}


def _other(run: str, record: dict[str, object]) -> OtherRun:
    types: dict[str, type] = {"host": str, "process": int, "since": str, "beats": int}
    known: dict[str, Any] = {name: record[name] for name, kind in types.items() if type(record.get(name)) is kind}
    return OtherRun(run, **known)


def _gone(record: dict[str, object]) -> bool:
    """Returns True if the run was a process of this very machine, and has ended."""
    if not record or not record["machine"] or record["machine"] != kernel() or type(record["process"]) is not int:
        return False
    return bool(record["started"] != process_facts(record["process"])["started"])


def process_facts(number: int) -> dict[str, object]:
    """Number of a process with its time of start, since numbers are reused."""
    return {"machine": kernel(), "process": number, "started": start_of(number)}
