"""Heartbeats of runs: every run writes a small file or object of its own every 20 s while it works.

They are the leases of runs that work side by side: a run whose heartbeat does not change any more has lost its claims.
Whether it changes is seen by the observer's own clock; clocks of two machines are never compared.
"""

import json
import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.archive.ledger.ledger import Ledger
from orchestrator.foundation.buckets.s3 import delete_object, objects_below
from orchestrator.foundation.storage import Storage
from orchestrator.runtime.process_identity import kernel, start_of

_NAME = "alive"
_EVERY_SECONDS = 20.0
_AGAIN_SECONDS = 10.0
_DEAD_AFTER_SECONDS = 180.0
_LONGEST = 2**16

LEASE_SECONDS = 90.0
"""Time without a heartbeat after which a run's scenes are taken over."""
_LOOK_SECONDS = 5.0


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
    """Heartbeat of a run.

    Args:
        ledger: The run's ledger, beside which it is written.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._place = ledger.place.child(ledger.run, _NAME)
        self._next, self._beats = 0.0, 0
        self._since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._ended = threading.Event()

    def start(self) -> None:
        """Beats from a thread, since the run itself may compute for minutes."""

        def beat() -> None:
            while not self._ended.wait(_AGAIN_SECONDS / 2):
                self.beat()

        threading.Thread(target=beat, daemon=True, name="rayscale-heartbeat").start()

    def beat(self) -> None:
        """Writes a heartbeat if it is due; a server that does not answer is asked again a little later."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _AGAIN_SECONDS
        record = {
            **process_facts(os.getpid()),
            "host": socket.gethostname(),
            "since": self._since,
            "beats": self._beats + 1,
        }
        with suppress(OSError):
            self._place.write_bytes(json.dumps(record).encode())
            self._beats += 1
            self._next = time.monotonic() + _EVERY_SECONDS

    def stop(self) -> None:
        """Ends the heartbeat."""
        self._ended.set()
        _remove(self._place)


class Watch:
    """Tells which other runs are alive by watching their heartbeats.

    Attributes:
        died: Runs that ended without removing their heartbeats.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._place = ledger.place
        self._seen: dict[str, tuple[object, float]] = {}
        self._answers: dict[str, tuple[float, OtherRun | None]] = {}
        self.died: set[str] = set()

    def alive(self, run: str) -> OtherRun | None:
        """The run, if it is alive as far as can be seen; None if it has ended or died."""
        asked, answer = self._answers.get(run, (float("-inf"), None))
        if time.monotonic() - asked >= _LOOK_SECONDS:
            answer = self._look(run)
            self._answers[run] = time.monotonic(), answer
        return answer

    def _look(self, run: str) -> OtherRun | None:
        try:
            record = _parsed(self._place.child(run, _NAME).read_bytes())
        except FileNotFoundError:
            return None
        except OSError:  # a server that does not answer says nothing about the run
            record = {}
        beats, since = self._seen.get(run, (None, 0.0))
        if record.get("beats") != beats or run not in self._seen:
            since = time.monotonic()
            self._seen[run] = record.get("beats"), since
        if _gone(record) or time.monotonic() - since >= LEASE_SECONDS:
            self.died.add(run)
            return None
        return _other(run, record)


def others_present(ledger: Ledger) -> bool:
    """Returns True if another run may be alive: it has a heartbeat, and is no process of this machine that has ended.

    What such processes have left is removed.
    """
    present = False
    for run in _heartbeats(ledger.place) - {ledger.run}:
        place = ledger.place.child(run, _NAME)
        if process_ended(place):
            _remove(place)
        else:
            present = True
    return present


def _heartbeats(place: Storage) -> set[str]:
    """Names of the runs that have a heartbeat."""
    if place.remote:
        return {run for facts in objects_below(place.uri) if (run := _run_of(facts.path)) is not None}
    return {path.parent.name for path in Path(place.path).glob(f"*/{_NAME}")}


def _remove(heartbeat: Storage) -> None:
    """Removes a heartbeat, and the folders that it alone was in."""
    with suppress(OSError):
        heartbeat.delete()
    if not heartbeat.remote:
        with suppress(OSError):
            for folder in list(Path(heartbeat.path).parents)[:2]:
                folder.rmdir()


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
        record = _record(ledger.place.child(run, _NAME))
        if now - modified < _DEAD_AFTER_SECONDS and not _gone(record):
            alive.append(_other(run, record))
        elif record:
            with suppress(OSError):
                delete_object(ledger.place.child(run, _NAME).uri)
    return alive


def _run_of(path: str) -> str | None:
    run, _, name = path.rpartition("/")
    return run if name == _NAME and run else None


def _record(place: Storage) -> dict[str, object]:
    """Heartbeat of a run as read from its file or object; empty if it is none of ours."""
    with suppress(OSError), place.open() as stream:
        return _parsed(stream.read(_LONGEST))
    return {}


def process_ended(place: Storage) -> bool:
    """Returns True if the file or object names a process of this very machine that has ended."""
    return _gone(_record(place))


def _parsed(data: bytes) -> dict[str, object]:
    with suppress(ValueError, RecursionError):
        record = json.loads(data)
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
