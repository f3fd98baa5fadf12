"""Stage records, which make a run resumable: each holds the fingerprint of all that went into its stage.

The record also lists the files that the stage vouches for. A stage counts as finished while its record is whole and
they are what it wrote.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from orchestrator.foundation.artefact_digests import CHECKED_BYTES, Damage, damage_of, listed, sentence
from orchestrator.foundation.storage import Storage
from trainables.version import __version__

RECORD = "stage.json"

_SEAL = "sha256"
"""Digest of the rest of the record. Records of 0.2.0 have neither this nor a list of files."""


@dataclass(frozen=True, slots=True)
class Vouched:
    """Artefacts that a stage vouches for.

    Attributes:
        home: The experiment's folder.
        places: Files, and folders with all that is in them, below it.
        known: Sizes and digests that need not be read again, by path below ``home``.
    """

    home: Storage
    places: Iterable[Storage]
    known: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Check:
    """Result of checking a stage.

    Attributes:
        record: Its record; None if there is none of these inputs.
        damage: Faults of the record or its files, by path below the experiment's folder; it has not finished then.
    """

    record: dict[str, Any] | None
    damage: Damage

    @property
    def finished(self) -> dict[str, Any] | None:
        """The record of a stage that need not run again."""
        return None if self.damage else self.record


def fingerprint(*parts: Any) -> str:
    """Digest of plain values: equal inputs, equal digest."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def now() -> str:
    """The time as a record states it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def check_stage(
    place: Storage,
    inputs: str,
    older: Callable[[dict[str, Any]], Damage] = lambda record: {},
    most_bytes: float = CHECKED_BYTES,
    unseen: str = "",
) -> Check:
    """Compares a stage with its record.

    Args:
        place: Its folder.
        inputs: Fingerprint that it should have.
        older: Looks at the files of a record that lists none, as those of 0.2.0 do.
        most_bytes: Most bytes that may be read to compare digests.
        unseen: A folder of the experiment that is not looked at; empty for none.
    """
    record = place.child(RECORD).read_json()
    if not isinstance(record, dict):
        return Check(None, {RECORD: "is empty, cut short or no record"} if place.child(RECORD).exists() else {})
    if record.get("inputs") != inputs:
        return Check(None, {})
    if wrong := _wrong(record):
        return Check(record, {RECORD: wrong})
    if "files" not in record:
        return Check(record, older(record))
    return Check(record, damage_of(_home(place, record["levels"]), record["files"], most_bytes, unseen))


def finished(place: Storage, inputs: str) -> dict[str, Any] | None:
    """The record of a stage that has finished with exactly these inputs and whose files are what it wrote, or None."""
    return check_stage(place, inputs).finished


def run_stage(
    name: str,
    place: Storage,
    inputs: str,
    work: Callable[[], Mapping[str, object]],
    log: Callable[[str], None],
    vouched: Callable[[], Vouched] | None = None,
    check: Check | None = None,
) -> dict[str, Any]:
    """Runs a stage, or skips it if a record with the same fingerprint exists; logs which.

    Args:
        name: Name of the stage on the terminal.
        place: Its folder of artefacts; the record is written there last.
        inputs: Fingerprint of everything that determines the result.
        work: Does the stage and returns what later stages need to know of it, as plain values.
        log: Logs one line.
        vouched: Gives the files that it has written, once it has.
        check: Result of a check that goes beyond :func:`check_stage`.

    Returns:
        The stage's record: ``inputs``, ``seconds``, ``finished_at``, ``rayscale`` and ``result``.
    """
    check = check_stage(place, inputs) if check is None else check
    if check.finished is not None:
        log(f"{name}: finished {check.finished['finished_at']}, skipped")
        return check.finished
    log(f"{name}: {why(check, place)}")
    start = time.monotonic()
    result = work()
    record = finish_stage(name, place, inputs, start, result, vouched() if vouched else None)
    log(f"{name}: done in {record['seconds']:.0f} s")
    return record


def finish_stage(
    name: str, place: Storage, inputs: str, start: float, result: Mapping[str, object], vouched: Vouched | None = None
) -> dict[str, Any]:
    """Writes the record of a stage that began at ``start`` on the monotonic clock, and returns it."""
    record: dict[str, Any] = {
        "stage": name,
        "inputs": inputs,
        "rayscale": __version__,
        "finished_at": now(),
        "seconds": round(time.monotonic() - start, 1),
        "result": dict(result),
    }
    if vouched is not None:
        own = place.child(RECORD).uri.removeprefix(vouched.home.uri + "/")
        files = listed(vouched.home, vouched.places, vouched.known)
        record |= {"levels": own.count("/"), "files": [file for file in files if file["path"] != own]}
    record[_SEAL] = _seal(record)
    place.child(RECORD).write_json(record)
    return record


def why(check: Check, place: Storage) -> str:
    """Reason that a stage which has not finished runs, in words."""
    if check.damage:
        return f"{sentence(check.damage)}, running again"
    return "its inputs changed, running again" if place.child(RECORD).exists() else "running"


def _wrong(record: dict[str, Any]) -> str:
    """Fault of a record; empty if there is none."""
    if _SEAL in record and record[_SEAL] != _seal(record):
        return "has changed since it was written"
    if not isinstance(record.get("result"), dict) or not isinstance(record.get("finished_at"), str):
        return "is damaged: it lacks a result or a time"
    seconds, levels = record.get("seconds"), record.get("levels")
    if type(seconds) not in (int, float) or not math.isfinite(float(seconds or 0)):
        return "is damaged: its seconds are no number"
    if "files" in record and not (type(levels) is int and 0 < levels < 10):
        return "is damaged: its list of files is not whole"
    return ""


def _seal(record: Mapping[str, Any]) -> str:
    # Through JSON, as it comes back: tuples are lists there, and keys are text.
    plain = json.loads(json.dumps({key: value for key, value in record.items() if key != _SEAL}))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _home(place: Storage, levels: int) -> Storage:
    return Storage(place.uri.rsplit("/", levels)[0])
