"""The ledger: events of every scene, as JSON lines that are only appended.

A run writes one file, ``_ledger/RUN.jsonl``, and forces each addition to the disk. In a bucket, where objects cannot be
extended, it writes a small object for each addition, and merges them when they become many. A kill loses no event: an
attempt is written before its scene starts, and a row before the next scene starts.

Events of a line: ``attempt`` (a scene is about to start), ``death`` (its worker died), ``scene`` (its outcome),
``run`` (how many scenes a run found settled). Runs are ordered by ``order``, one more than the greatest number that a
run finds, and not by clocks. Runs of versions without it come first, by name.
"""

import os
import secrets
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.archive.ledger.ledger_event import Event, columns_of, encoded, mark
from orchestrator.archive.ledger.ledger_lines import LAST_ORDER, FileLines, OddLines, read_lines
from orchestrator.archive.ledger.ledger_segments import compacted, merge
from orchestrator.foundation.buckets.s3 import delete_objects, error_class, objects_below, write_object
from orchestrator.foundation.storage import Storage
from trainables.errors import RunError, StorageError, reason_of

FOLDER = "_ledger"
MERGED_EVERY = 200

_PLANNING = ("event", "run", "number", "order", "output", "key", "status", "error", "message", "output_bytes")
"""Columns that planning needs; a large archive's others would not fit into memory."""


@dataclass(slots=True)
class SceneHistory:
    """History of a scene over all ledgers.

    Attributes:
        outcome: Its latest ``scene`` event, None where it has never ended.
        key: The source's version, the model and the settings of what follows.
        deaths: Workers that died of it since it last ended.
        interrupted: Attempts without a recorded end.
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
        order: The run's number among all runs on these outputs; 0 where it does not matter.
    """

    place: Storage
    run: str
    order: int = 0
    _number: int = 0
    _unmerged: list[Event] = field(default_factory=list)
    _objects: list[str] = field(default_factory=list)

    @classmethod
    def new(cls, out: Storage, order: int = 0) -> "Ledger":
        """A ledger for a new run; nothing is written yet."""
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        return cls(out.child(FOLDER), f"{moment}-{secrets.token_hex(3)}", order)

    @property
    def uri(self) -> str:
        """URI of the run's rows: a file, or a prefix of a bucket."""
        return self.place.child(self.run).uri if self.place.remote else self.place.child(f"{self.run}.jsonl").uri

    def write(self, events: Iterable[Event]) -> None:
        """Adds events; they are on storage when it returns.

        Raises:
            RunError: If they cannot be written.
        """
        numbered: list[Event] = []
        for event in events:
            self._number += 1
            place: Event = {"run": self.run, "number": self._number, "order": self.order}
            numbered.append(place | event)
        if not numbered:
            return
        try:
            if self.place.remote:
                self._put(numbered)
            else:
                self._append(numbered)
        except OSError as error:
            raise RunError(
                f"The ledger '{self.uri}' cannot be written ({reason_of(error)}); what had finished is kept, and the "
                "same command goes on."
            ) from None

    def _append(self, events: list[Event]) -> None:
        path = Path(self.uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as stream:
            stream.write(encoded(events))
            stream.flush()
            os.fsync(stream.fileno())

    def _put(self, events: list[Event]) -> None:
        name = self.place.child(self.run, f"{self._number:08}.jsonl").uri
        write_object(name, encoded(events))
        self._unmerged += events
        self._objects.append(name)
        if len(self._objects) >= MERGED_EVERY:
            self.close()

    def close(self) -> None:
        """Merges small objects; a kill in between leaves events twice, which readers accept.

        A merge that fails leaves the small objects as they are, for the next one.
        """
        if len(self._objects) < 2:
            return
        *small, last = self._objects
        with suppress(OSError):
            write_object(last, encoded(self._unmerged))
            self._unmerged, self._objects = [], []
            delete_objects(small)  # one after the other they would keep the driver from its work for 20 s


@dataclass(frozen=True, slots=True)
class Records:
    """Events of all ledgers, as planning needs them.

    Attributes:
        events: Events of every run, in order, with the columns that planning needs; what later ones make superfluous
            is left out.
        files: The ledgers as they were read.
    """

    events: list[Event]
    files: list[FileLines]

    @property
    def odd(self) -> list[OddLines]:
        """Lines and files that are no part of a ledger, or are damaged; they are passed over."""
        return [file.odd for file in self.files if file.odd is not None]

    @property
    def histories(self) -> dict[str, SceneHistory]:
        """History of each scene, by the output's place."""
        histories: dict[str, SceneHistory] = {}
        for event in self.events:
            if event["event"] != "run":
                # As lists were once taken by the letter: ./a.tif is a.tif.
                place = event["output"].replace("/./", "/")
                histories.setdefault(place, SceneHistory()).add(event)
        return histories

    @property
    def next_order(self) -> int:
        """The number of a run that begins now."""
        return min(max((event["order"] for event in self.events), default=0) + 1, LAST_ORDER)


def read_records(out: Storage) -> Records:
    """Reads of the ledgers of all runs what planning needs: some hundred bytes for each scene.

    Raises:
        StorageError: If a bucket does not answer; what cannot be read for another reason is odd.
    """
    files = list(read_lines(_ledgers(out), lambda events: compacted(map(_planning_columns, events))))
    return Records(_in_order(files), files)


def read_histories(out: Storage) -> dict[str, SceneHistory]:
    """Reads the scene histories of all former runs, by the output's place.

    Lines that a kill or a full disk cut short are passed over: their scenes are done again.
    """
    return read_records(out).histories


def read_events(out: Storage) -> list[Event]:
    """Every event that the ledgers hold, whole and in order."""
    return _in_order(list(read_lines(_ledgers(out))))


def read_outcomes(out: Storage, brief: Callable[[Event], Event]) -> list[Event]:
    """Outcomes of scenes that were worked on, in order.

    Args:
        out: Place of the outputs.
        brief: Gives what is kept of an event; ``order``, ``run`` and ``number`` must be.
    """

    def keep(events: Iterable[Event]) -> list[Event]:
        return [brief(event) for event in events if event["event"] == "scene" and event["status"] != "skipped"]

    return _in_order(list(read_lines(_ledgers(out), keep)))


def merge_ledgers(out: Storage, records: Records) -> None:
    """Merges the ledgers of former runs where they are many; no other run may work on the same outputs."""
    merge(out.child(FOLDER), records.files, records.events, records.next_order)


def _ledgers(out: Storage) -> list[Storage]:
    place = out.child(FOLDER)
    try:
        names = [facts.path for facts in (objects_below(place.uri) if place.remote else place.files())]
    except OSError as error:
        _, reason = error_class(error)
        raise StorageError(f"The ledgers in '{place.uri}' cannot be listed ({reason}); see to it first.") from None
    return [place.child(name) for name in names if name.endswith(".jsonl")]


def _in_order(files: list[FileLines]) -> list[Event]:
    # A merge that was killed leaves events in two files.
    once = {mark(event): event for file in files for event in file.events}
    return [once[place] for place in sorted(once)]


def _planning_columns(event: Event) -> Event:
    brief = columns_of(event, _PLANNING)
    brief["run"] = sys.intern(event["run"])
    if event["event"] != "run":
        brief["output"] = sys.intern(event["output"])
        brief["key"] = sys.intern(event["key"])
    found = event.get("consistency")
    if isinstance(found, dict) and found.get("flags"):
        brief["consistency"] = {"flags": found["flags"]}  # type: ignore[typeddict-item]
    return brief
