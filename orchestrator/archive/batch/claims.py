"""Claims on scenes, by which runs side by side share an archive: each scene is worked on by one of them.

A claim is an object that can be created once only: ``_ledger/.claims/SCENE.N``, where ``SCENE`` is a digest of the
output's place. It holds as long as its run's heartbeat goes on, which is the lease of all its claims. Where the holder
is dead, its claim is replaced by creating number N + 1, which again one run alone can do. A scene that has ended is
marked by ``SCENE.N.KEY.ok`` or ``.failed``. Nothing compares clocks of two machines.

In the worst case (a run that was suspended for longer than its lease) a scene is done twice, with the same bytes.
"""

import hashlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from orchestrator.archive.batch.heartbeat import LEASE_SECONDS, Watch, others_present
from orchestrator.archive.ledger.ledger import Ledger
from orchestrator.archive.ledger.ledger_event import Event
from orchestrator.foundation.buckets.s3 import create_object, objects_below
from orchestrator.foundation.storage import Storage
from trainables.errors import UsageError

CLAIMS = ".claims"
"""Folder of all claims, below that of the ledgers."""

LOOK_SECONDS = 5.0
"""Time after which ended scenes of others are listed again."""
_SHARE_OF_LOOKING = 0.1
_AT_ONCE = 8

State = Literal["ours", "held", "ok", "failed"]


@dataclass(frozen=True, slots=True)
class Claim:
    """Outcome of a claim.

    Attributes:
        state: ``ours`` if this run works on the scene, ``held`` while another one does, ``ok`` or ``failed`` as another
            one has ended it.
        error: Class of the failure.
        message: Its reason.
    """

    state: State
    error: str = ""
    message: str = ""


_CONFLICT = Claim(
    "failed",
    "collision",
    "a run beside this one makes the same output of another source, or with another model or other settings",
)


@dataclass(frozen=True, slots=True)
class _Mark:
    """The end of a scene: number of its claim, its key, and how it ended."""

    number: int
    key: str
    status: str


@dataclass
class Claims:
    """Claims of one run.

    Attributes:
        ledger: The run's ledger, whose heartbeat must be going already.
        notes: Sentences for the user.
    """

    ledger: Ledger
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Notes which scenes have ended already; ledgers that are read afterwards hold their rows.

        Raises:
            UsageError: If a bucket has no conditional writes.
        """
        self._folder = self.ledger.place.child(CLAIMS)
        self._watch = Watch(self.ledger)
        self._last: dict[str, int] = {}
        self._ended: dict[str, _Mark] = {}
        self._ours: dict[str, int] = {}
        self._holders: dict[tuple[str, int], tuple[str, str]] = {}
        self._unknown: dict[tuple[str, int], float] = {}
        self._buried: set[str] = set()
        self._next_look = 0.0
        self._writers = ThreadPoolExecutor(_AT_ONCE, "rayscale-claims")
        self._check_exclusive()
        self._look()
        self._settled = {(scene, mark.number) for scene, mark in self._ended.items()}

    def take(self, output: str, key: str) -> Claim:
        """Claims a scene, if no other run works on it or has ended it since this one began.

        Args:
            output: Place of its output.
            key: Its key, as in :meth:`orchestrator.archive.batch.plan.Recipe.key`.
        """
        scene = _digest(output)
        while True:
            if scene in self._last and time.monotonic() >= self._next_look:
                self._look()
            number = self._last.get(scene, 0)
            mark = self._ended.get(scene)
            if mark is not None and mark.number == number and (scene, number) not in self._settled:
                return self._end_of(scene, mark, key)
            if number and (mark is None or mark.number < number):
                held = self._held(scene, number, key)
                if held is not None:
                    return held
                if (mark := self._ended.get(scene)) is not None and mark.number >= number:
                    continue  # it had ended before its holder did
            if self._create(scene, number + 1, output, key):
                self._last[scene] = self._ours[output] = number + 1
                return Claim("ours")
            self._last[scene] = number + 1

    def end(self, event: Event) -> None:
        """Marks a scene of this run as ended; its row must be in the ledger."""
        number = self._ours.pop(event["output"], None)
        if number is not None:
            name = f"{_digest(event['output'])}.{number}.{event['key']}.{event['status']}"
            failure = {"error": event.get("error", ""), "message": event.get("message", ""), "run": self.ledger.run}
            self._writers.submit(self._write, name, json.dumps(failure).encode())

    def close(self) -> None:
        """Ends the claims of this run; all of its marks are written when it returns."""
        self._writers.shutdown()

    def _write(self, name: str, data: bytes) -> None:
        with suppress(OSError):  # at worst the scene is done again by another run
            self._folder.child(name).write_bytes(data)

    def _look(self) -> None:
        """Lists all claims and ends."""
        began = time.monotonic()
        for name in _names(self._folder):
            parts = name.split(".")
            if len(parts) < 2 or not parts[1].isdigit():  # another run's probe, or a foreign file
                continue
            scene, number, *end = parts
            if int(number) >= self._last.get(scene, 0):
                self._last[scene] = int(number)
            if len(end) == 2 and int(number) >= getattr(self._ended.get(scene), "number", 0):
                self._ended[scene] = _Mark(int(number), *end)
        took = time.monotonic() - began
        self._next_look = time.monotonic() + max(LOOK_SECONDS, took / _SHARE_OF_LOOKING)

    def _end_of(self, scene: str, mark: _Mark, key: str) -> Claim:
        if mark.key != key:
            return _CONFLICT
        if mark.status == "ok":
            return Claim("ok")
        found = self._folder.child(f"{scene}.{mark.number}.{mark.key}.{mark.status}").read_json()
        failure = found if isinstance(found, dict) else {}
        return Claim("failed", str(failure.get("error", "error")), str(failure.get("message", "")))

    def _held(self, scene: str, number: int, key: str) -> Claim | None:
        """Outcome of a claim of another run for this one; None if its run is dead."""
        run, others_key = self._holder(scene, number)
        if not run:  # it is still being written, or was when its writer died
            seen = self._unknown.setdefault((scene, number), time.monotonic())
            return Claim("held") if time.monotonic() - seen < LEASE_SECONDS else None
        other = self._watch.alive(run)
        if other is not None:
            self._note(f"Run {run} ({other}) works beside this one: the two share the scenes.")
            return Claim("held") if others_key == key else _CONFLICT
        if run not in self._buried:
            self._buried.add(run)
            self._look()
            if run in self._watch.died:
                self._note(f"Run {run} gives no sign of life any more: its unfinished scenes are taken over.")
        return None

    def _holder(self, scene: str, number: int) -> tuple[str, str]:
        """Run and key of a claim; empty if they cannot be read."""
        place = (scene, number)
        if place not in self._holders:
            found: object = None
            with suppress(OSError):
                found = self._folder.child(f"{scene}.{number}").read_json()
            if not isinstance(found, dict) or not isinstance(found.get("run"), str):
                return "", ""
            self._holders[place] = found["run"], str(found.get("key"))
        return self._holders[place]

    def _create(self, scene: str, number: int, output: str, key: str) -> bool:
        content = json.dumps({"run": self.ledger.run, "key": key, "output": output}).encode()
        place = self._folder.child(f"{scene}.{number}")
        # An answer that was lost and asked for again says that it exists.
        return _create(place, content) or self._holder(scene, number)[0] == self.ledger.run

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def _check_exclusive(self) -> None:
        """Makes sure that a bucket refuses to create an object twice; some servers do not know the condition."""
        if not self._folder.remote:
            return
        probe = self._folder.child(f"probe-{self.ledger.run}")
        try:
            if _create(probe, b"") and not _create(probe, b""):
                return
        except NotImplementedError:
            pass
        finally:
            with suppress(OSError):
                probe.delete()
        raise UsageError(
            f"The S3 server of '{self.ledger.place.uri}' has no conditional writes, by which runs side by side share "
            "scenes: run one at a time, without --side-by-side."
        )


def remove_last_claims(ledger: Ledger) -> None:
    """Removes all claims if no other run is left; this run's own heartbeat must have ended.

    Of runs that end at the same time, the one whose heartbeat ends last then sees no other.
    """
    if not others_present(ledger):
        remove_claims(ledger)


def remove_claims(ledger: Ledger) -> None:
    """Removes all claims; no run that shares scenes may be alive."""
    with suppress(OSError):
        ledger.place.child(CLAIMS).delete_folder()
    if not ledger.place.remote:
        with suppress(OSError):
            Path(ledger.place.path).rmdir()  # which takes an empty folder only


def _digest(output: str) -> str:
    return hashlib.sha256(output.encode(errors="surrogateescape")).hexdigest()[:24]


def _names(folder: Storage) -> list[str]:
    if folder.remote:
        return [facts.path for facts in objects_below(folder.uri)]
    with suppress(FileNotFoundError), os.scandir(folder.path) as entries:
        return [entry.name for entry in entries]
    return []


def _create(place: Storage, content: bytes) -> bool:
    """Creates a file or an object; False if there is one already."""
    if place.remote:
        return create_object(place.uri, content)
    path = Path(place.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("xb") as stream:
            stream.write(content)
    except FileExistsError:
        return False
    return True
