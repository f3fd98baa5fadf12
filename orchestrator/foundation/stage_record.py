"""Stage records, which make a run resumable: each holds the fingerprint of all that went into its stage.

The record also lists the files that the stage vouches for. A stage counts as finished while its record is whole and
they are what it wrote.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from pydantic import Field

from orchestrator.foundation.artefact_digests import CHECKED_BYTES, Damage, FileDigest, damage_of, listed, sentence
from orchestrator.foundation.record import DamagedRecordError, Number, Record
from orchestrator.foundation.storage import Storage
from trainables.version import __version__

RECORD = "stage.json"

R = TypeVar("R", bound=Record)


class StageRecord(Record):
    """The record of a finished stage.

    Attributes:
        stage: Its name in words.
        inputs: Fingerprint of all that determines its result.
        rayscale: Version that ran it.
        finished_at: Time in ISO 8601, UTC.
        seconds: Time that it took.
        result: What later stages need to know of it, as the record of that stage has it.
        levels: How many folders the record lies below the experiment's, where it lists files.
        files: Files that it vouches for; None in records of 0.2.0.
        sha256: Digest of all the above; None in records of 0.2.0.
    """

    stage: str = ""
    inputs: str
    rayscale: str = ""
    finished_at: str
    seconds: Number
    result: dict[str, object]
    levels: Annotated[int, Field(strict=True, gt=0, lt=10)] | None = None
    files: list[FileDigest] | None = None
    sha256: str | None = None


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
    known: Mapping[str, FileDigest] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Check:
    """Result of checking a stage.

    Attributes:
        record: Its record; None if there is none of these inputs, or it cannot be read.
        damage: Faults of the record or its files, by path below the experiment's folder; it has not finished then.
    """

    record: StageRecord | None
    damage: Damage

    @property
    def finished(self) -> StageRecord | None:
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
    older: Callable[[StageRecord], Damage] = lambda record: {},
    most_bytes: float = CHECKED_BYTES,
    unseen: str = "",
) -> Check:
    """Compares a stage with its record.

    Args:
        place: Its folder.
        inputs: Fingerprint that it should have.
        older: Looks at the files of a record that lists none, as those of 0.2.0 do.
        most_bytes: Most bytes that may be read to compare digests.
        unseen: A folder of the experiment that is not read; empty for none.
    """
    content = place.child(RECORD).read_json()
    if not isinstance(content, dict):
        return Check(None, {RECORD: "is empty, cut short or no record"} if place.child(RECORD).exists() else {})
    if content.get("inputs") != inputs:
        return Check(None, {})
    try:
        record = StageRecord.parse(content)
    except DamagedRecordError as error:
        return Check(None, {RECORD: f"is damaged: it {error}"})
    if record.sha256 is not None and record.sha256 != _seal(content):
        return Check(record, {RECORD: "has changed since it was written"})
    if record.files is None:
        return Check(record, older(record))
    if record.levels is None:
        return Check(record, {RECORD: "is damaged: it lacks 'levels'"})
    return Check(record, damage_of(_home(place, record.levels), record.files, most_bytes, unseen))


def finished(place: Storage, inputs: str) -> StageRecord | None:
    """The record of a stage that has finished with exactly these inputs and whose files are what it wrote, or None."""
    return check_stage(place, inputs).finished


def read_stage(place: Storage) -> StageRecord:
    """The record of a stage that has finished, whatever its inputs were.

    Raises:
        DamagedRecordError: If there is none, or it cannot be read.
    """
    return StageRecord.parse(place.child(RECORD).read_json())


def read_result(place: Storage, kind: type[R]) -> R:
    """The result of a finished stage, as the record of that stage.

    Raises:
        DamagedRecordError: If it is none.
    """
    return kind.parse(read_stage(place).result)


def run_stage(
    name: str,
    place: Storage,
    inputs: str,
    work: Callable[[], Mapping[str, object]],
    log: Callable[[str], None],
    vouched: Callable[[], Vouched] | None = None,
    check: Check | None = None,
) -> StageRecord:
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
        The stage's record.
    """
    check = check_stage(place, inputs) if check is None else check
    if check.finished is not None:
        log(f"{name}: finished {check.finished.finished_at}, skipped")
        return check.finished
    log(f"{name}: {why(check, place)}")
    start = time.monotonic()
    result = work()
    record = finish_stage(name, place, inputs, start, result, vouched() if vouched else None)
    log(f"{name}: done in {record.seconds:.0f} s")
    return record


def finish_stage(
    name: str, place: Storage, inputs: str, start: float, result: Mapping[str, object], vouched: Vouched | None = None
) -> StageRecord:
    """Writes the record of a stage that began at ``start`` on the monotonic clock, and returns it."""
    record = StageRecord(
        stage=name,
        inputs=inputs,
        rayscale=__version__,
        finished_at=now(),
        seconds=round(time.monotonic() - start, 1),
        result=dict(result),
    )
    if vouched is not None:
        own = place.child(RECORD).uri.removeprefix(vouched.home.uri + "/")
        files = [file for file in listed(vouched.home, vouched.places, vouched.known) if file.path != own]
        record = record.model_copy(update={"levels": own.count("/"), "files": files})
    record = record.model_copy(update={"sha256": _seal(record.plain())})
    record.write(place.child(RECORD))
    return record


def why(check: Check, place: Storage) -> str:
    """Reason that a stage which has not finished runs, in words."""
    if check.damage:
        return f"{sentence(check.damage)}, running again"
    return "its inputs changed, running again" if place.child(RECORD).exists() else "running"


def _seal(content: Mapping[str, object]) -> str:
    # Through JSON, as it comes back: tuples are lists there, and keys are text.
    plain = json.loads(json.dumps({key: value for key, value in content.items() if key != "sha256"}))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _home(place: Storage, levels: int) -> Storage:
    return Storage(place.uri.rsplit("/", levels)[0])
