"""The ledger: what happened to every scene, in JSON lines that are only ever added to.

One run of the driver writes one file, ``_ledger/RUN.jsonl``, and forces each addition to the disk; in a bucket, where
nothing can be added to an object, one small object for each addition, which are merged as they become many. Nothing
that was written is lost by a kill: an attempt is there before its scene starts, a row before the next scene starts.

Events of a line: ``attempt`` (a scene is about to start), ``death`` (its worker died), ``scene`` (its outcome).
"""

import json
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.storage import Storage

FOLDER = "_ledger"
_MERGED_EVERY = 200
_READS_AT_ONCE = 16
Event = dict[str, Any]


@dataclass(slots=True)
class Past:
    """What ledgers tell about a scene.

    Attributes:
        outcome: Its latest ``scene`` event, None where it has never ended.
        key: The source's version, the model and the settings of what follows.
        deaths: Workers that died of it since it last ended.
        interrupted: Attempts that nobody saw end.
    """

    outcome: Event | None = None
    key: str = ""
    deaths: int = 0
    interrupted: int = 0

    def add(self, event: Event) -> None:
        """Takes in the next event."""
        if event["key"] != self.key:
            self.key, self.deaths, self.interrupted = event["key"], 0, 0
        if event["event"] == "attempt":
            self.interrupted += 1
        elif event["event"] == "death":
            self.deaths += 1
            self.interrupted -= 1
        elif event["status"] != "skipped":
            self.outcome = event
            self.deaths = self.interrupted = 0


@dataclass(slots=True)
class Ledger:
    """One run's own part.

    Attributes:
        place: The folder of all ledgers, below the outputs.
        run: Name of the run; names sort by time.
    """

    place: Storage
    run: str
    _number: int = 0
    _unmerged: list[Event] = field(default_factory=list)
    _objects: list[Storage] = field(default_factory=list)

    @classmethod
    def new(cls, out: Storage) -> "Ledger":
        """A ledger for a new run; nothing is written yet."""
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        return cls(out.child(FOLDER), f"{moment}-{secrets.token_hex(3)}")

    @property
    def uri(self) -> str:
        """Where the run's rows are: a file, or a prefix of a bucket."""
        return self.place.child(self.run).uri if self.place.remote else self.place.child(f"{self.run}.jsonl").uri

    def write(self, events: Iterable[Event]) -> None:
        """Adds events; they are safe when this returns."""
        stated = []
        for event in events:
            self._number += 1
            stated.append({"run": self.run, "number": self._number, **event})
        if not stated:
            return
        if self.place.remote:
            self._put(stated)
            return
        path = Path(self.uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as stream:
            stream.write(_lines(stated))
            stream.flush()
            os.fsync(stream.fileno())

    def _put(self, events: list[Event]) -> None:
        name = self.place.child(self.run, f"{self._number:08}.jsonl")
        name.write_bytes(_lines(events))
        self._unmerged += events
        self._objects.append(name)
        if len(self._objects) >= _MERGED_EVERY:
            self.close()

    def close(self) -> None:
        """Merges small objects; a kill in between leaves events twice, which readers do not mind."""
        if len(self._objects) < 2:
            return
        *small, last = self._objects
        last.write_bytes(_lines(self._unmerged))
        for name in small:
            name.delete()
        self._unmerged, self._objects = [], []


def read_past(out: Storage) -> dict[str, Past]:
    """What all former runs tell, by the output's place.

    Lines that a kill or a full disk cut short are passed over: their scenes are done again.
    """
    past: dict[str, Past] = {}
    for event in read_events(out):
        past.setdefault(event["output"], Past()).add(event)
    return past


def read_events(out: Storage) -> list[Event]:
    """Every event of every run, in order."""
    place = out.child(FOLDER)
    files = [place.child(facts.path) for facts in place.files() if facts.path.endswith(".jsonl")]
    with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
        found = [event for events in pool.map(lambda file: list(_events(file.read_bytes())), files) for event in events]
    # A merge that was killed leaves events in two objects.
    once = {(event["run"], event["number"]): event for event in found}
    return [once[mark] for mark in sorted(once)]


def _events(data: bytes) -> Iterator[Event]:
    for line in data.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and {"event", "output", "key", "number", "run"} <= event.keys():
            yield event


def _lines(events: list[Event]) -> bytes:
    return "".join(f"{json.dumps(event, ensure_ascii=False)}\n" for event in events).encode()
